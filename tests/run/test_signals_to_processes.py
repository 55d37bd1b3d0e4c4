"""Signals to the command that starts several processes, as a terminal or a system sends them."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from runs import DEBUG, fingerprint, train_in

from ostinato.run_dir import RunDir, read_json

pytestmark = [pytest.mark.proof, pytest.mark.slow]

TRAIN = Path(__file__).parents[2] / "scripts" / "train.py"
OPTIONS = (
    "training.accumulate=4",
    "training.threads=1",
    "training.checkpoint_every=3",
    "training.epochs=60",
    "tracker=jsonl",
)
SECONDS = 400


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return fingerprint(train_in(tmp_path_factory.mktemp("whole"), *OPTIONS))


@pytest.fixture
def command(tmp_path):
    """A training in three processes, in its own session, after a few steps."""
    run = RunDir(tmp_path / "run")
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, str(TRAIN), *DEBUG, *OPTIONS),
                "training.processes=3",
                f"hydra.run.dir={run.path}",
            ],
            cwd=tmp_path,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    wait_until(
        lambda: run.steps.is_file() and run.steps.read_text().count("\n") > 5, process
    )
    yield process, run, tmp_path / "log"
    for pid in descendants(process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.kill()
    process.wait()


def wait_until(happens, process=None):
    end = time.monotonic() + SECONDS
    while not happens():
        assert time.monotonic() < end
        assert process is None or process.poll() is None, "ended too early"
        time.sleep(0.02)


def parents():
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            stat = (path / "stat").read_text().rpartition(")")[2].split()
            if stat[0] != "Z":
                found[int(path.name)] = int(stat[1])
    return found


def descendants(pid):
    """The ids of the processes below a process: the fork server first."""
    children = [child for child, parent in parents().items() if parent == pid]
    below = [sorted(descendants(child)) for child in sorted(children)]
    return sorted(children) + [pid for pids in below for pid in pids]


def check_none_is_left(pids):
    wait_until(lambda: not set(pids) & set(parents()))


def check_resumes(run, whole):
    resumed = train_in(run.path, *OPTIONS, "training.processes=2", "resume.run=auto")
    assert fingerprint(resumed) == whole


def test_ctrl_c_in_a_terminal_reaches_all_and_stops_after_a_checkpoint(command, whole):
    process, run, log = command
    pids = descendants(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(SECONDS) == 128 + signal.SIGINT
    assert log.read_text().splitlines()[-1].startswith("stopped by SIGINT after step")
    assert "Traceback" not in log.read_text()
    assert read_json(run.results)["status"] == "interrupted"
    check_none_is_left(pids)
    check_resumes(run, whole)


def test_a_second_ctrl_c_ends_at_once_although_a_process_hangs(command, whole):
    process, run, _ = command
    pids = descendants(process.pid)
    os.kill(pids[-1], signal.SIGSTOP)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(SECONDS) in (128 + signal.SIGINT, -signal.SIGINT)
    assert read_json(run.results)["status"] == "interrupted"
    check_none_is_left(pids)
    check_resumes(run, whole)


def test_sigterm_to_all_processes_stops_after_a_checkpoint(command, whole):
    process, run, log = command
    pids = descendants(process.pid)
    for pid in [*pids, process.pid]:
        os.kill(pid, signal.SIGTERM)
    assert process.wait(SECONDS) == 128 + signal.SIGTERM
    assert log.read_text().splitlines()[-1].startswith("stopped by SIGTERM after step")
    check_none_is_left(pids)
    check_resumes(run, whole)


def test_no_process_is_left_when_process_0_is_killed(command, whole):
    process, run, _ = command
    pids = descendants(process.pid)
    assert len(pids) >= 3
    process.kill()
    process.wait()
    check_none_is_left(pids)
    check_resumes(run, whole)
