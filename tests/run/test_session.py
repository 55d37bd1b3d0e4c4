"""One process trains in a run folder.

A session that does not begin changes no file of an earlier session.
"""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from preloaded import python
from runs import DEBUG, Killed, configure, fingerprint, train_in

from ostinato.errors import Interrupted, ResumeRefused, UserError
from ostinato.run.session import check_new, session
from ostinato.run_dir import RunDir, read_json
from ostinato.sweep.jobs import run_once
from ostinato.training import loop, optimization

ROOT = Path(__file__).parents[2]
HOLD_THE_LOCK = """
import sys, time
from ostinato.run_dir import RunDir
from ostinato.run.session import session
with session(RunDir(sys.argv[1])):
    print('locked', flush=True)
    time.sleep(60)
"""


@dataclass
class Trained:
    """Two runs on the same file: one finished, one that a signal stopped after step 3.

    Attributes:
        data: the file.
    """

    finished: RunDir
    stopped: RunDir
    data: Path

    @property
    def options(self):
        """Options of both runs."""
        return [
            "data.source=files",
            f"data.train_path={self.data}",
            "training.checkpoint_every=2",
        ]

    def resume(self, run, *more):
        return train_in(run.path, *self.options, *more, f"resume.run={run.path}")


def contents(run):
    """Each file of a run with its bytes, without the lock."""
    files = [path for path in run.path.rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in files if path != run.lock}


def write_rows(path):
    with path.open("w") as file:
        for number in range(60):
            words, label = [("the goal", "a"), ("rain tomorrow", "b")][number % 2]
            row = {"text": f"{words} {number}", "label": label}
            file.write(json.dumps(row) + "\n")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    place = tmp_path_factory.mktemp("session")
    runs = Trained(
        finished=RunDir(place / "finished"),
        stopped=RunDir(place / "stopped"),
        data=place / "train.jsonl",
    )
    write_rows(runs.data)
    train_in(runs.finished.path, *runs.options)
    original_step = loop.Training._step

    def step_with_signal(self):
        original_step(self)
        if self.state.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop.Training, "_step", step_with_signal)
        with pytest.raises(Interrupted):
            train_in(runs.stopped.path, *runs.options)
    return runs


@pytest.fixture
def copies(trained, tmp_path):
    return Trained(
        finished=RunDir(shutil.copytree(trained.finished.path, tmp_path / "finished")),
        stopped=RunDir(shutil.copytree(trained.stopped.path, tmp_path / "stopped")),
        data=trained.data,
    )


@pytest.fixture
def without_data(copies):
    moved = copies.data.rename(copies.data.with_name("moved.jsonl"))
    yield copies
    moved.rename(copies.data)


@pytest.mark.slow
def test_resuming_a_finished_run_changes_nothing_and_needs_no_data(
    without_data, caplog
):
    run = without_data.finished
    before = contents(run)
    with caplog.at_level(logging.INFO):
        without_data.resume(run)
    assert contents(run) == before
    assert f"finished already: {run.path}" in caplog.text


def test_a_resumed_run_that_fails_before_its_first_step_keeps_the_earlier_status(
    without_data,
):
    run = without_data.stopped
    before = contents(run)
    with pytest.raises(UserError, match=r"train\.jsonl"):
        without_data.resume(run)
    assert contents(run) == before
    assert read_json(run.results)["status"] == "interrupted"


def records(run):
    """The content of each record of a run; None for one that does not exist."""
    paths = (run.config, run.provenance, run.results, run.fingerprint, run.best_weights)
    paths += (run.metrics, run.steps)
    return [path.read_bytes() if path.is_file() else None for path in paths]


@pytest.mark.slow
@pytest.mark.parametrize("which", ["finished", "stopped"])
def test_a_first_step_that_fails_keeps_the_records_of_the_earlier_session(
    copies, monkeypatch, which
):
    run = getattr(copies, which)
    before = records(run)

    def out_of_memory(*arguments):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(optimization, "train_step", out_of_memory)
    with pytest.raises(RuntimeError, match="out of memory"):
        copies.resume(run, "training.epochs=3", "resume.allow_drift=true")
    assert records(run) == before


@pytest.mark.slow
def test_a_finished_run_that_is_killed_while_it_trains_further_is_not_finished(
    copies, monkeypatch
):
    run = copies.finished
    further = ("training.epochs=4", "resume.allow_drift=true")
    original_step = loop.Training._step

    def step_until_killed(self):
        if self.state.step == 10:
            raise Killed
        original_step(self)

    def write_nothing(*arguments):
        """A killed process writes no results."""

    with monkeypatch.context() as patched:
        patched.setattr(loop.Training, "_step", step_until_killed)
        patched.setattr("ostinato.run.outcome._write_results", write_nothing)
        with pytest.raises(Killed):
            copies.resume(run, *further)
    assert read_json(run.results)["status"] == "unfinished"
    assert read_json(run.results)["metrics"]

    copies.resume(run, *further)

    assert len(fingerprint(run)["steps"]) > 10
    assert read_json(run.results)["status"] == "finished"


@pytest.mark.slow
def test_a_finished_run_with_another_config_is_refused(copies):
    before = contents(copies.finished)
    with pytest.raises(ResumeRefused, match=r"training\.epochs: 2\.0 -> 5\.0"):
        copies.resume(copies.finished, "training.epochs=5")
    assert contents(copies.finished) == before


@pytest.fixture
def other_process(copies):
    """Another process, which has locked the stopped run."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD_THE_LOCK, copies.stopped.path],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.wait()


@pytest.mark.slow
def test_a_second_resume_is_refused_in_one_line_and_the_lock_ends_with_its_process(
    copies, other_process, trained
):
    run = copies.stopped
    before = contents(run)
    with pytest.raises(ResumeRefused) as refused:
        copies.resume(run)
    assert str(run.path) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert contents(run) == before

    other_process.kill()
    other_process.wait()
    copies.resume(run)
    assert fingerprint(run) == fingerprint(trained.finished)


@pytest.mark.slow
@pytest.mark.usefixtures("other_process")
def test_the_command_ends_with_exit_code_2_while_another_process_trains(copies):
    run = copies.stopped
    record = run.path / ".hydra" / "overrides.yaml"
    record.parent.mkdir()
    record.write_text(json.dumps([*DEBUG, "tracker=jsonl"]))
    done = subprocess.run(
        [python(), ROOT / "scripts" / "train.py", f"resume={run.path}"],
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 2, output
    assert "another process trains in this run folder" in output
    assert "Traceback" not in output


def test_a_session_that_waits_begins_after_the_other_process_has_ended(
    copies, other_process
):
    run = copies.stopped
    began = time.monotonic()
    subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {other_process.pid}"])
    with session(run, wait=True), session(run):  # Reentrant.
        assert time.monotonic() - began > 0.4


@pytest.mark.slow
def test_a_job_that_resumes_keeps_what_an_interrupted_session_logged(copies):
    run = copies.stopped
    logged = read_json(run.results)["metrics"]["train/loss"]
    run.metrics.unlink()
    seen = {}

    def main(config, folder, resolved):
        seen["resume"] = config.resume.run
        copies.resume(folder, "tracker=tensorboard")

    config, _ = configure(*copies.options)
    run_once(main, config, run, {})

    assert seen == {"resume": "auto"}
    assert read_json(run.results)["metrics"]["train/loss"][: len(logged)] == logged


def test_a_new_run_is_refused_in_a_folder_that_holds_a_run(copies):
    before = contents(copies.finished)
    message = r"hydra\.run\.dir=.*already holds a run; resume="
    with pytest.raises(ResumeRefused, match=message):
        train_in(copies.finished.path, *copies.options, "training.lr=0.5")
    assert contents(copies.finished) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "holds", [pytest.param("files", marks=pytest.mark.proof), "a run"]
)
def test_the_command_refuses_a_folder_with_other_files_before_it_writes(
    copies, tmp_path, holds
):
    folder = copies.finished.path
    if holds == "files":
        folder = tmp_path / "mine"
        folder.mkdir()
        (folder / "notes.txt").write_text("mine")
    before = contents(RunDir(folder))
    script = ROOT / "scripts" / "train.py"
    done = subprocess.run(
        [python(), script, *DEBUG, f"hydra.run.dir={folder}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"hydra.run.dir={folder}" in done.stderr
    assert contents(RunDir(folder)) == before


def test_a_new_run_can_take_an_empty_or_missing_folder_or_one_without_a_step(tmp_path):
    check_new(tmp_path)
    check_new(tmp_path / "missing")
    (tmp_path / ".hydra").mkdir()
    (tmp_path / "train.log").write_text("stopped early")
    check_new(tmp_path)
