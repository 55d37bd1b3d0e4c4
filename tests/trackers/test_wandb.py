"""W&B offline: its file is read back; a resumed run keeps its id."""

import os
import socket
import subprocess
from pathlib import Path

import pytest
from preloaded import python
from runs import DEBUG, train_in, train_until_killed
from tracked import from_jsonl, from_wandb, wandb_files, wandb_records

from ostinato.run_dir import RunDir, read_json

wandb = pytest.importorskip("wandb", reason="needs the extra wandb")
ROOT = Path(__file__).parents[2]
CHOSEN = ("tracker=[jsonl,wandb]", "training.log_every=1")


@pytest.fixture(autouse=True)
def _no_run_of_another_test():
    """Closes a run that another test broke; the next run would wait for it."""
    wandb.teardown()


def run_record(file: Path):
    """The record that describes the W&B run."""
    return next(record.run for record in wandb_records(file) if record.HasField("run"))


def train_command(*arguments: str, **environment: str) -> str:
    """Runs scripts/train.py and returns its output."""
    return subprocess.run(
        [python(), "scripts/train.py", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
        timeout=120,
    ).stdout


@pytest.mark.slow
def test_the_offline_file_holds_the_whole_run_and_no_file_is_elsewhere(tmp_path):
    home, folder = tmp_path / "home", tmp_path / "run"
    home.mkdir()
    variables = {
        "HOME": str(home),
        "OSTINATO_CACHE": str(tmp_path / "cache"),
        "SECRET_TEAM": "classified",  # pragma: allowlist secret
    }
    options = [*DEBUG, *CHOSEN, "training.epochs=1", f"hydra.run.dir={folder}"]
    options.append("tracker.wandb.entity=${oc.env:SECRET_TEAM}")
    output = train_command(*options, **variables)
    assert "wandb" not in output

    run = RunDir(folder)
    assert from_wandb(run) == from_jsonl(run)
    (file,) = wandb_files(run)
    recorded = run_record(file)
    assert recorded.display_name == "run"
    assert recorded.project == "ostinato"
    assert recorded.run_id == run.tracker_id("wandb").read_text()
    config = {update.key: update.value_json for update in recorded.config.update}
    assert '"epochs":1' in config["training"].replace(" ", "")
    assert "classified" not in str(config)

    records = list(wandb_records(file))
    artefacts = [r.artifact for r in records if r.HasField("artifact")]
    (model,) = [artefact for artefact in artefacts if artefact.type == "model"]
    sent = {entry.local_path for entry in model.manifest.contents}
    assert sent == {str(path) for path in run.best.iterdir()}
    assert list(folder.glob("wandb/offline-run-*/files/media/images/val/*"))
    assert not [path for path in home.rglob("*") if "wandb" in path.name]


@pytest.mark.proof
@pytest.mark.slow
def test_a_resumed_run_keeps_its_id(tmp_path, monkeypatch):
    options = (*CHOSEN, "training.checkpoint_every=4")
    train_until_killed(monkeypatch, 6, tmp_path, *options)
    run = train_in(tmp_path, *options, f"resume.run={tmp_path}")
    first, second = wandb_files(run)
    assert run_record(first).run_id == run_record(second).run_id
    last_values = {at: values[-1:] for at, values in from_wandb(run).items()}
    assert last_values == from_jsonl(run)


@pytest.mark.proof
@pytest.mark.slow
def test_a_new_run_in_a_used_folder_has_a_new_id(tmp_path):
    train_in(tmp_path, *CHOSEN)
    # Otherwise the second run is refused, because the folder holds a run.
    RunDir(tmp_path).config.unlink()
    first, second = wandb_files(train_in(tmp_path, *CHOSEN))
    assert run_record(first).run_id != run_record(second).run_id


@pytest.mark.proof
@pytest.mark.slow
def test_the_jobs_of_a_sweep_form_a_group(tmp_path):
    options = ["-m", *DEBUG, *CHOSEN, "training.epochs=1", "seed=1,2"]
    train_command(*options, f"hydra.sweep.dir={tmp_path}/sweep")
    files = []
    for folder in (tmp_path / "sweep").iterdir():
        files += wandb_files(RunDir(folder))
    assert [run_record(file).run_group for file in files] == ["sweep", "sweep"]
    assert len({run_record(file).run_id for file in files}) == 2


@pytest.mark.proof
@pytest.mark.slow
def test_a_silent_server_delays_neither_the_run_nor_its_end(tmp_path):
    with socket.socket() as silent:  # accepts connections, never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        options = [
            *DEBUG,
            "tracker=[wandb]",
            "tracker.wandb.mode=online",
            "tracker.timeout=3",
            "training.epochs=1",
            f"hydra.run.dir={tmp_path}",
        ]
        output = train_command(*options, WANDB_BASE_URL=address, WANDB_API_KEY="0" * 40)
    assert output.count("tracker wandb failed and is disabled") == 1
    assert read_json(tmp_path / "results.json")["status"] == "finished"
