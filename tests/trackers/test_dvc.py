"""The DVC example of docs/dvc, with real DVC: `dvc repro`, push to a remote, pull."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from files import write

pytest.importorskip("dvc", reason="needs dvc, which the extra dvclive brings")
ROOT = Path(__file__).parents[2]
RUN = Path("outputs/dvc")
ROWS = [
    {"text": f"{word} {number}", "label": word}
    for number in range(20)
    for word in ("oil", "gold")
]


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A checkout with the example, data tracked by DVC, and a local remote."""
    home = tmp_path / "project"
    no_caches = shutil.ignore_patterns("__pycache__")
    for folder in ("conf", "scripts", "src"):
        shutil.copytree(ROOT / folder, home / folder, ignore=no_caches)
    for file in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / "docs" / "dvc" / file, home)
    params = yaml.safe_load((home / "params.yaml").read_text())
    params |= {"model": "tiny", "epochs": 1, "lr": 0.01}
    (home / "params.yaml").write_text(yaml.safe_dump(params))
    (home / "data").mkdir()
    write(home / "data", "train.csv", ROWS)
    write(home / "data", "val.csv", ROWS[:10])

    monkeypatch.chdir(home)
    python_folder = str(Path(sys.executable).parent)
    path = os.pathsep.join([python_folder, os.environ["PATH"]])
    monkeypatch.setenv("PATH", path)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    for place in ("GLOBAL_CONFIG", "SYSTEM_CONFIG", "SITE_CACHE"):
        monkeypatch.setenv(f"DVC_{place}_DIR", str(tmp_path / "home"))
    dvc("init", "--no-scm")
    dvc("remote", "add", "--default", "store", str(tmp_path / "store"))
    dvc("add", "data/train.csv", "data/val.csv")
    return home


def dvc(*arguments: str) -> str:
    """Runs DVC and returns its output."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def weights() -> bytes:
    return (RUN / "best" / "model.safetensors").read_bytes()


def remove_all_but_pointers(folder: Path) -> None:
    """Removes a folder but keeps the `.dvc` files that point to its data."""
    pointers = {file.name: file.read_text() for file in folder.glob("*.dvc")}
    shutil.rmtree(folder)
    for name, text in pointers.items():
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.proof
@pytest.mark.slow
def test_the_example_trains_changed_stages_and_fetches_unchanged_ones(project):
    assert "Running stage 'train'" in dvc("repro")
    first = weights()
    metrics = json.loads(dvc("metrics", "show", "--json"))[""]["data"]
    shown = metrics[str(RUN / "dvclive" / "metrics.json")]["data"]
    results = json.loads((RUN / "results.json").read_text())
    assert shown["final"]["val"]["accuracy"] == results["val"]["accuracy"]
    assert "train" in dvc("plots", "show", "--json")

    assert "didn't change, skipping" in dvc("repro")
    dvc("push")
    for folder in (".dvc/cache", "data", "outputs"):
        remove_all_but_pointers(Path(folder))
    dvc("pull")
    assert weights() == first
    assert "didn't change, skipping" in dvc("repro")

    write(project / "data", "train.csv", ROWS[2:])
    assert "Running stage 'train'" in dvc("repro")
    assert weights() != first
