"""A process that fails, hangs or is killed ends the run in one line; the folder resumes.

The other processes are real. Failures come from signals and limits of the system.
"""

import multiprocessing
import os
import re
import resource
import signal

import pytest
from runs import fingerprint, train_in

from ostinato.errors import Interrupted, ProcessFailed, UserError
from ostinato.run import train as run_module
from ostinato.run.processes import Processes
from ostinato.run_dir import read_json
from ostinato.training.distributed import Team
from ostinato.training.loop import Training
from ostinato.training.messages import Messages

OPTIONS = (
    "training.accumulate=4",
    "training.threads=1",
    "training.checkpoint_every=3",
)
THREE = (*OPTIONS, "training.processes=3")

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("preloaded_fork_server")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return fingerprint(train_in(tmp_path_factory.mktemp("whole"), *OPTIONS))


def followers():
    """The other processes, in the order of their numbers."""
    children = multiprocessing.active_children()
    return sorted(children, key=lambda child: int(child.name.rpartition("-")[2]))


def send(number, *ranks):
    """A function that sends a signal to processes and waits until it has an effect."""

    def act():
        for rank in ranks:
            child = followers()[rank - 1]
            os.kill(child.pid, number)
            if number == signal.SIGKILL:
                child.join()

    return act


def before(monkeypatch, owner, name, act, number=0):
    """Calls a function before the call of a method with this number, from 0."""
    original = getattr(owner, name)
    calls = iter(range(number, -1, -1))

    def wrapped(*args, **kwargs):
        if next(calls, None) == 0:
            act()
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, wrapped)


MOMENTS = {
    "before all have started": (Processes, "connect", 0),
    "while the group forms": (Team, "form", 0),
    "at the first step": (Training, "_step", 0),
    "in a step": (Training, "_step", 4),
    "in an evaluation": (Training, "_evaluate", 0),
    "while a checkpoint is saved": (Training, "_save", 1),
    "in the last scores": (run_module, "score_best", 0),
}
SHORT = ("in a step",)


def failed(run, kind, options, status="failed"):
    """The message of a run that fails; checks what every failure leaves."""
    with pytest.raises(kind) as error:
        train_in(run, *options)
    message = str(error.value)
    assert "\n" not in message
    assert not multiprocessing.active_children()
    results = read_json(run / "results.json")
    assert results["status"] == status
    assert results["error"] == message
    return message, error.value.exit_code


def resumes(run, whole, *options):
    for process in followers():
        process.join()
    resumed = train_in(run, *OPTIONS, *options, "resume.run=auto")
    assert fingerprint(resumed) == whole
    assert read_json(resumed.results)["status"] == "finished"


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(moment, marks=() if moment in SHORT else pytest.mark.proof)
        for moment in MOMENTS
    ],
)
def test_a_killed_process_is_named(moment, whole, tmp_path, monkeypatch):
    owner, name, number = MOMENTS[moment]
    with monkeypatch.context() as patched:
        before(patched, owner, name, send(signal.SIGKILL, 2), number)
        message, code = failed(tmp_path, ProcessFailed, THREE)
    assert message.startswith("process 2 of 3 was killed by SIGKILL; memory may have")
    assert f"resume={tmp_path}" in message
    assert code == 1
    resumes(tmp_path, whole, "training.processes=4")


@pytest.mark.proof
@pytest.mark.parametrize("moment", ["before all have started", "in a step"])
def test_a_process_that_hangs_is_named_after_the_time_limit(
    moment, whole, tmp_path, monkeypatch
):
    owner, name, number = MOMENTS[moment]
    with monkeypatch.context() as patched:
        before(patched, owner, name, send(signal.SIGSTOP, 2), number)
        options = (*THREE, "training.process_timeout=20")
        message, code = failed(tmp_path, ProcessFailed, options)
    assert re.match(r"process 2( \(.*?\))? does not answer \(", message), message
    assert f"resume={tmp_path}" in message
    assert code == 1
    resumes(tmp_path, whole)


@pytest.mark.proof
def test_an_unexpected_exception_is_shown_once(whole, tmp_path, monkeypatch, caplog):
    def take_memory():
        for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
            resource.prlimit(followers()[0].pid, limit, (1, 1))

    with monkeypatch.context() as patched:
        before(patched, Training, "_step", take_memory, 4)
        message, code = failed(tmp_path, ProcessFailed, THREE)
    assert message.startswith("process 1 ("), message
    assert code == 1
    resumes(tmp_path, whole)


@pytest.mark.proof
def test_a_mistake_that_one_process_meets_has_exit_code_2(whole, tmp_path, monkeypatch):
    def limit_files(self, name, text, publish=Messages.publish):
        if name == "config":
            resource.prlimit(followers()[0].pid, resource.RLIMIT_FSIZE, (1, 1))
        publish(self, name, text)

    def wait(config, prepare=run_module.prepare):
        followers()[0].join(30)
        return prepare(config)

    cache = tmp_path / "cache"
    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setenv("OSTINATO_CACHE", str(cache))
        patched.setattr(Messages, "publish", limit_files)
        patched.setattr(run_module, "prepare", wait)
        message, code = failed(run, ProcessFailed, THREE)
    assert message.startswith("process 1 (")
    assert "File too large" in message
    assert code == 2
    resumes(run, whole, "training.processes=2")


@pytest.mark.proof
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_any_process_stops_after_a_checkpoint(
    rank, whole, tmp_path, monkeypatch
):
    def stop():
        pid = followers()[rank - 1].pid if rank else os.getpid()
        os.kill(pid, signal.SIGTERM)

    with monkeypatch.context() as patched:
        before(patched, Training, "_step", stop, 4)
        message, code = failed(tmp_path, Interrupted, THREE, "interrupted")
    assert message.startswith("stopped by SIGTERM after step")
    assert code == 128 + signal.SIGTERM
    resumes(tmp_path, whole, "training.processes=2")


@pytest.mark.proof
def test_a_signal_to_all_before_they_have_started(whole, tmp_path, monkeypatch):
    def stop():
        os.kill(os.getpid(), signal.SIGTERM)
        for child in followers():
            os.kill(child.pid, signal.SIGTERM)
            child.join()

    with monkeypatch.context() as patched:
        before(patched, Team, "form", stop)
        message, code = failed(tmp_path, Interrupted, THREE, "interrupted")
    assert message.startswith(
        "stopped by SIGTERM; process 1 of 3 was killed by SIGTERM"
    )
    assert code == 128 + signal.SIGTERM
    resumes(tmp_path, whole, "training.processes=3")


@pytest.mark.proof
def test_a_second_signal_ends_a_run_that_waits_for_a_process(tmp_path, monkeypatch):
    def hang_and_stop():
        send(signal.SIGSTOP, 2)()
        for seconds in (1, 2):
            os.system(f"(sleep {seconds}; kill -INT {os.getpid()}) &")

    with monkeypatch.context() as patched:
        before(patched, Training, "_step", hang_and_stop, 4)
        message, code = failed(tmp_path, Interrupted, THREE, "interrupted")
    killed = "the other processes were killed by a second signal"
    assert message.startswith(f"stopped by SIGINT; {killed}")
    assert code == 128 + signal.SIGINT


def test_a_failure_of_process_0_ends_the_others_with_the_message_of_one_process(
    tmp_path,
):
    bad = tmp_path / "train.csv"
    bad.write_text('text,label\n"open,a\n')
    data = ("data=files", f"data.train_path={bad}", f"data.test_path={bad}")
    messages = []
    for name, options in (("one", OPTIONS), ("three", THREE)):
        message, code = failed(tmp_path / name, UserError, (*options, *data))
        assert code == 2
        messages.append(message)
    assert messages[0] == messages[1]
    assert str(bad) in messages[0]


@pytest.mark.proof
@pytest.mark.parametrize("limit", [100, 40_000])
def test_a_limit_on_file_size_of_process_0(limit, whole, tmp_path):
    before_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before_limit[1]))
    try:
        with pytest.raises(UserError, match="File too large") as error:
            train_in(tmp_path, *THREE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before_limit)
    assert error.value.exit_code == 2
    assert not multiprocessing.active_children()
    resumes(tmp_path, whole)
