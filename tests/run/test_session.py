"""One process trains in a run folder; a session that does not begin changes nothing that an earlier one left."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from preloaded import python
from runs import DEBUG, configure, fingerprint, train_in

from ostinato.errors import Interrupted, ResumeRefused, UserError
from ostinato.run.session import check_new, session
from ostinato.run_dir import RunDir, read_json
from ostinato.sweep.jobs import run_once
from ostinato.training import loop

ROOT = Path(__file__).parents[2]
ROWS = [
    {"text": f"{'rain tomorrow' if n % 2 else 'the goal'} {n}", "label": "ab"[n % 2]}
    for n in range(60)
]
HOLD = "import sys, time\nfrom ostinato.run_dir import RunDir\nfrom ostinato.run.session import session\n"
HOLD += "with session(RunDir(sys.argv[1])):\n    print('locked', flush=True)\n    time.sleep(60)\n"


def content(run):
    return {
        p: p.read_bytes()
        for p in run.path.rglob("*")
        if p.is_file() and p.name != ".lock"
    }


def options_of(folder):
    return [
        "data.source=files",
        f"data.train_path={folder}/train.jsonl",
        "training.checkpoint_every=2",
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on a file of its own, finished, and the same run stopped by a signal after step 3."""
    place = tmp_path_factory.mktemp("session")
    (place / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    finished = train_in(place / "finished", *options_of(place))
    step = loop.Training._step

    def signalled(self):
        step(self)
        if self.state.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop.Training, "_step", signalled)
        with pytest.raises(Interrupted):
            train_in(place / "stopped", *options_of(place))
    return finished, RunDir(place / "stopped"), place


@pytest.fixture
def copies(trained, tmp_path):
    finished, stopped, place = trained
    return tuple(
        RunDir(shutil.copytree(run.path, tmp_path / run.path.name))
        for run in (finished, stopped)
    ), place


@pytest.fixture
def without_data(copies):
    (finished, stopped), place = copies
    (place / "train.jsonl").rename(place / "moved.jsonl")
    yield finished, stopped, place
    (place / "moved.jsonl").rename(place / "train.jsonl")


@pytest.mark.slow
def test_resuming_a_finished_run_changes_nothing_and_needs_no_data(
    without_data, caplog
):
    finished, _, place = without_data
    before = content(finished)
    with caplog.at_level(logging.INFO):
        train_in(finished.path, *options_of(place), f"resume.run={finished.path}")
    assert content(finished) == before
    assert f"finished already: {finished.path}" in caplog.text


def test_a_resumed_run_that_fails_before_its_first_step_leaves_the_earlier_status(
    without_data,
):
    _, stopped, place = without_data
    before = content(stopped)
    with pytest.raises(UserError, match=r"train\.jsonl"):
        train_in(stopped.path, *options_of(place), f"resume.run={stopped.path}")
    assert content(stopped) == before
    assert read_json(stopped.results)["status"] == "interrupted"


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1], ids=["finished", "stopped"])
def test_a_first_step_that_fails_leaves_the_records_of_the_earlier_session(
    copies, monkeypatch, which
):
    run, place = copies[0][which], copies[1]
    records = (
        run.config,
        run.provenance,
        run.results,
        run.fingerprint,
        run.best_weights,
    )
    before = [path.read_bytes() if path.is_file() else None for path in records]

    def out_of_memory(*arguments):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(loop, "train_step", out_of_memory)
    more = ["training.epochs=3", "resume.allow_drift=true"]
    with pytest.raises(RuntimeError, match="out of memory"):
        train_in(run.path, *options_of(place), *more, f"resume.run={run.path}")
    assert [path.read_bytes() if path.is_file() else None for path in records] == before


@pytest.mark.slow
def test_a_finished_run_that_is_killed_while_it_trains_further_is_not_finished_already(
    copies, monkeypatch
):
    (run, _), place = copies
    more = [
        *options_of(place),
        "training.epochs=4",
        f"resume.run={run.path}",
        "resume.allow_drift=true",
    ]
    step = loop.Training._step

    class Killed(BaseException):
        """Stands for a kill."""

    def killed(self):
        if self.state.step == 10:
            raise Killed
        step(self)

    with monkeypatch.context() as patched:
        patched.setattr(loop.Training, "_step", killed)
        patched.setattr(
            "ostinato.run.outcome._write", lambda *arguments: None
        )  # a killed process writes no results
        with pytest.raises(Killed):
            train_in(run.path, *more)
    assert read_json(run.results)["status"] == "unfinished"
    assert read_json(run.results)["metrics"]
    train_in(run.path, *more)
    assert len(fingerprint(run)["steps"]) > 10
    assert read_json(run.results)["status"] == "finished"


@pytest.mark.slow
def test_a_finished_run_with_another_config_is_refused(copies):
    (run, _), place = copies
    before = content(run)
    with pytest.raises(ResumeRefused, match=r"training\.epochs: 2\.0 -> 5\.0"):
        train_in(
            run.path, *options_of(place), "training.epochs=5", f"resume.run={run.path}"
        )
    assert content(run) == before


@pytest.fixture
def locked(copies):
    """The stopped run, which another process has locked; and that process."""
    run = copies[0][1]
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, run.path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "locked\n"
    yield run, process, copies[1]
    process.kill()
    process.wait()


def test_a_second_resume_is_refused_in_one_line_and_the_lock_ends_with_its_process(
    locked, trained
):
    run, process, place = locked
    before = content(run)
    resume = [*options_of(place), f"resume.run={run.path}"]
    with pytest.raises(ResumeRefused) as refused:
        train_in(run.path, *resume)
    assert str(run.path) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert content(run) == before
    process.kill()
    process.wait()
    assert fingerprint(train_in(run.path, *resume)) == fingerprint(trained[0])


@pytest.mark.slow
def test_the_command_ends_with_exit_code_2_while_another_process_trains(locked):
    run, _, _ = locked
    (run.path / ".hydra").mkdir()
    (run.path / ".hydra" / "overrides.yaml").write_text(
        json.dumps([*DEBUG, "tracker=jsonl"])
    )
    done = subprocess.run(
        [python(), ROOT / "scripts" / "train.py", f"resume={run.path}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "another process trains in this run folder" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_session_that_waits_begins_when_the_other_process_has_ended(locked):
    run, process, _ = locked
    began = time.monotonic()
    subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {process.pid}"])
    with session(run, wait=True), session(run):  # reentrant
        assert time.monotonic() - began > 0.4


def test_a_job_goes_on_without_losing_what_an_interrupted_session_logged(copies):
    (_, run), place = copies
    logged = read_json(run.results)["metrics"]["train/loss"]
    run.metrics.unlink()
    seen = {}

    def main(config, folder, resolved):
        seen["resume"] = config.resume.run
        train_in(
            folder.path,
            *options_of(place),
            f"resume.run={folder.path}",
            "tracker=tensorboard",
        )

    run_once(main, configure(*options_of(place))[0], run, {})
    assert seen == {"resume": "auto"}
    assert read_json(run.results)["metrics"]["train/loss"][: len(logged)] == logged


def test_a_new_run_is_refused_in_a_folder_that_holds_a_run(copies):
    (run, _), place = copies
    before = content(run)
    with pytest.raises(
        ResumeRefused, match=r"hydra\.run\.dir=.*already holds a run; resume="
    ):
        train_in(run.path, *options_of(place), "training.lr=0.5")
    assert content(run) == before


@pytest.mark.parametrize("holds", ["files", "a run"])
def test_the_command_refuses_a_foreign_folder_before_anything_is_written(
    copies, tmp_path, holds
):
    folder = copies[0][0].path
    if holds == "files":
        folder = tmp_path / "mine"
        folder.mkdir()
        (folder / "notes.txt").write_text("mine")
    before = content(RunDir(folder))
    command = [
        python(),
        ROOT / "scripts" / "train.py",
        *DEBUG,
        f"hydra.run.dir={folder}",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"hydra.run.dir={folder}" in done.stderr
    assert content(RunDir(folder)) == before


def test_a_folder_that_is_empty_missing_or_left_by_a_run_without_a_step_is_taken(
    tmp_path,
):
    check_new(tmp_path)
    check_new(tmp_path / "missing")
    (tmp_path / ".hydra").mkdir()
    (tmp_path / "train.log").write_text("stopped early")
    check_new(tmp_path)
