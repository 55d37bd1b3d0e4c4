"""W&B offline: its own file, read back; nothing beyond the run folder; a resumed run keeps its id."""

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
    wandb.teardown()  # one that was broken on purpose stays open, and the next would wait for it


def header(file: Path):
    """The record of the run itself."""
    return next(record.run for record in wandb_records(file) if record.HasField("run"))


def command(*arguments: str, **environment: str) -> str:
    """What scripts/train.py says."""
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
def test_all_of_a_run_is_in_the_offline_file_and_nothing_elsewhere(tmp_path):
    home, folder = tmp_path / "home", tmp_path / "run"
    home.mkdir()
    variables = {
        "HOME": str(home),
        "OSTINATO_CACHE": str(tmp_path / "cache"),
        "SECRET_TEAM": "classified",
    }
    options = [*DEBUG, *CHOSEN, "training.epochs=1", f"hydra.run.dir={folder}"]
    told = command(*options, "tracker.wandb.entity=${oc.env:SECRET_TEAM}", **variables)
    assert "wandb" not in told
    run = RunDir(folder)
    assert from_wandb(run) == from_jsonl(run)
    (file,) = wandb_files(run)
    kept = header(file)
    assert (kept.display_name, kept.project, kept.run_id) == (
        "run",
        "ostinato",
        run.tracker_id("wandb").read_text(),
    )
    config = {update.key: update.value_json for update in kept.config.update}
    assert '"epochs":1' in config["training"].replace(" ", "")
    assert "classified" not in str(config)
    sent = [
        record.artifact for record in wandb_records(file) if record.HasField("artifact")
    ]
    (model,) = [artefact for artefact in sent if artefact.type == "model"]
    assert {entry.local_path for entry in model.manifest.contents} == {
        str(path) for path in run.best.iterdir()
    }
    assert {
        path.name
        for path in folder.glob("wandb/offline-run-*/files/media/images/val/*")
    }
    assert not [path for path in home.rglob("*") if "wandb" in path.name]


@pytest.mark.slow
def test_a_resumed_run_keeps_its_id(tmp_path, monkeypatch):
    options = (*CHOSEN, "training.checkpoint_every=4")
    train_until_killed(monkeypatch, 6, tmp_path, *options)
    run = train_in(tmp_path, *options, f"resume.run={tmp_path}")
    first, second = wandb_files(run)
    assert header(first).run_id == header(second).run_id
    written = from_wandb(run)
    assert {at: values[-1:] for at, values in written.items()} == from_jsonl(run)


@pytest.mark.slow
def test_a_new_run_in_a_used_folder_has_a_new_id(tmp_path):
    train_in(tmp_path, *CHOSEN)
    RunDir(
        tmp_path
    ).config.unlink()  # else the second run is refused in a folder that holds a run
    first, second = wandb_files(train_in(tmp_path, *CHOSEN))
    assert header(first).run_id != header(second).run_id


@pytest.mark.proof
@pytest.mark.slow
def test_the_jobs_of_a_sweep_are_a_group(tmp_path):
    command(
        "-m",
        *DEBUG,
        *CHOSEN,
        "training.epochs=1",
        "seed=1,2",
        f"hydra.sweep.dir={tmp_path}/sweep",
    )
    files = [
        path
        for folder in (tmp_path / "sweep").iterdir()
        for path in wandb_files(RunDir(folder))
    ]
    assert [header(file).run_group for file in files] == ["sweep", "sweep"]
    assert len({header(file).run_id for file in files}) == 2


@pytest.mark.proof
@pytest.mark.slow
def test_a_server_that_is_away_holds_up_neither_the_run_nor_its_end(tmp_path):
    with socket.socket() as silent:  # takes connections, answers none
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        options = [
            *DEBUG,
            "tracker=[wandb]",
            "tracker.wandb.mode=online",
            "tracker.timeout=3",
            "training.epochs=1",
        ]
        told = command(
            *options,
            f"hydra.run.dir={tmp_path}",
            WANDB_BASE_URL=address,
            WANDB_API_KEY="0" * 40,
        )
    assert told.count("tracker wandb failed and is left out") == 1
    assert read_json(tmp_path / "results.json")["status"] == "finished"
