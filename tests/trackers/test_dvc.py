"""The DVC example of docs/dvc, run with DVC: a local remote, `dvc repro`, everything fetched back."""

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
ROWS = [
    {"text": f"{word} {number}", "label": word}
    for number in range(20)
    for word in ("oil", "gold")
]
RUN = Path("outputs/dvc")


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A checkout with the example in it, data under DVC and a remote beside it."""
    home = tmp_path / "project"
    for folder in ("conf", "scripts", "src"):
        shutil.copytree(
            ROOT / folder, home / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    for file in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / "docs" / "dvc" / file, home)
    params = yaml.safe_load((home / "params.yaml").read_text())
    (home / "params.yaml").write_text(
        yaml.safe_dump(params | {"model": "tiny", "epochs": 1, "lr": 0.01})
    )
    (home / "data").mkdir()
    write(home / "data", "train.csv", ROWS)
    write(home / "data", "val.csv", ROWS[:10])
    monkeypatch.chdir(home)
    monkeypatch.setenv(
        "PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    for place in ("GLOBAL_CONFIG", "SYSTEM_CONFIG", "SITE_CACHE"):
        monkeypatch.setenv(f"DVC_{place}_DIR", str(tmp_path / "home"))
    dvc("init", "--no-scm")
    dvc("remote", "add", "--default", "store", str(tmp_path / "store"))
    dvc("add", "data/train.csv", "data/val.csv")
    return home


def dvc(*arguments: str) -> str:
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


@pytest.mark.proof
@pytest.mark.slow
def test_the_example_trains_what_has_changed_and_fetches_what_has_not(project):
    assert "Running stage 'train'" in dvc("repro")
    first = weights()
    shown = json.loads(dvc("metrics", "show", "--json"))[""]["data"][
        str(RUN / "dvclive" / "metrics.json")
    ]["data"]
    results = json.loads((RUN / "results.json").read_text())
    assert shown["final"]["val"]["accuracy"] == results["val"]["accuracy"]
    assert "train" in dvc("plots", "show", "--json")

    assert "didn't change, skipping" in dvc("repro")
    dvc("push")
    for folder in (".dvc/cache", "data", "outputs"):
        pointers = {file.name: file.read_text() for file in Path(folder).glob("*.dvc")}
        shutil.rmtree(folder)
        for name, text in pointers.items():
            Path(folder).mkdir(exist_ok=True)
            Path(folder, name).write_text(text)
    dvc("pull")
    assert weights() == first
    assert "didn't change, skipping" in dvc("repro")

    write(project / "data", "train.csv", ROWS[2:])
    assert "Running stage 'train'" in dvc("repro")
    assert weights() != first
