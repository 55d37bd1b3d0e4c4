"""Trackers only observe: their errors do not stop a run, and they change no result."""

import logging
import random
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from tracker_calls import (
    ALL_CALLS,
    METHODS,
    TWO_TRACKERS,
    FakeTracker,
    call_all_methods,
)

from ostinato.config import TrackerConfig
from ostinato.run_dir import RunDir
from ostinato.trackers import Trackers, build


def test_a_run_needs_no_tracker():
    call_all_methods(Trackers())


@pytest.mark.parametrize("method", METHODS)
def test_a_tracker_that_fails_is_reported_once_and_disabled(caplog, method):
    bad, good = FakeTracker(method), FakeTracker("none")
    with caplog.at_level(logging.WARNING):
        call_all_methods(Trackers({"bad": lambda: bad, "good": lambda: good}))
    assert bad.calls.count(method) == 1
    assert bad.calls[-1] == method
    assert good.calls == ALL_CALLS
    (record,) = caplog.records
    assert "bad" in record.getMessage()
    assert "No space left on device" in record.getMessage()


@pytest.mark.parametrize("method", METHODS)
def test_a_tracker_that_hangs_is_reported_once_and_disabled(
    caplog, method, monkeypatch
):
    monkeypatch.setattr("ostinato.trackers.tracker.UPLOAD_FACTOR", 2)
    bad, good = FakeTracker(method, threading.Event().wait), FakeTracker("none")
    makers = {"bad": lambda: bad, "good": lambda: good}
    call_all_methods(Trackers(makers, timeout=0.2))
    assert bad.calls.count(method) == 1
    assert bad.calls[-1] == method
    assert good.calls == ALL_CALLS
    (record,) = caplog.records
    uploads = method in ("artefact", "finish")
    seconds = 0.4 if uploads else 0.2
    message = f"tracker bad failed and is disabled: no answer within {seconds} s"
    assert message in record.getMessage()


def test_a_slow_tracker_gets_every_call_in_order(caplog):
    slow = FakeTracker("log", lambda: time.sleep(0.1))
    call_all_methods(Trackers({"slow": lambda: slow}, timeout=30))
    assert slow.calls == ALL_CALLS
    assert not caplog.records


@pytest.mark.slow
@pytest.mark.parametrize("hangs_in", ["maker", "start"])
def test_a_process_ends_while_a_tracker_hangs(hangs_in):
    code = f"""
import threading
from ostinato.trackers import Trackers
class Hanging:
    def start(self, *arguments): threading.Event().wait()
make = threading.Event().wait if {hangs_in == "maker"} else Hanging
trackers = Trackers({{"bad": make}}, timeout=0.1)
trackers.start({{}}, {{}})
trackers.finish("finished", {{}})
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr.count("tracker bad failed") == 1


@pytest.mark.slow
@pytest.mark.parametrize("error", [ImportError("broken"), SystemExit(3), MemoryError()])
def test_a_tracker_that_cannot_be_created_is_disabled(caplog, error):
    def make():
        raise error

    call_all_methods(Trackers({"bad": make}))
    (record,) = caplog.records
    assert type(error).__name__ in record.getMessage()


def test_the_warning_masks_a_password_in_a_url(caplog):
    def refuse():
        raise ConnectionError(
            "no route\nto http://me:secret@host/api"  # pragma: allowlist secret
        )  # pragma: allowlist secret

    call_all_methods(Trackers({"bad": lambda: FakeTracker("log", refuse)}))
    message = caplog.records[0].getMessage()
    assert message.endswith("ConnectionError: no route to http://***@host/api")


def test_a_folder_that_cannot_be_written_is_one_warning_per_tracker(tmp_path, caplog):
    (tmp_path / "file").write_text("not a folder")
    with caplog.at_level(logging.WARNING):
        call_all_methods(build(TWO_TRACKERS, RunDir(tmp_path / "file")))
    assert len(caplog.records) == 2


def test_an_interrupt_is_not_an_error_of_a_tracker():
    class Interrupted(FakeTracker):
        def log(self, step, values):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call_all_methods(Trackers({"one": lambda: Interrupted("none")}))


def test_trackers_draw_no_random_numbers(tmp_path):
    torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1:3], torch.get_rng_state()
    call_all_methods(build(TWO_TRACKERS, RunDir(tmp_path)))
    after = random.getstate(), np.random.get_state()[1:3], torch.get_rng_state()
    assert before[0] == after[0]
    assert np.array_equal(before[1][0], after[1][0])
    assert before[1][1] == after[1][1]
    assert torch.equal(before[2], after[2])


def test_only_chosen_trackers_write_and_only_to_the_run_folder(tmp_path):
    run = RunDir(tmp_path / "run")
    run.path.mkdir()
    call_all_methods(build(TrackerConfig(), run))
    assert list(tmp_path.rglob("*")) == [run.path]

    call_all_methods(build(TWO_TRACKERS, run))
    events, metrics = sorted(run.path.iterdir())
    assert list(tmp_path.iterdir()) == [run.path]
    assert events.name.startswith("events.out.tfevents.")
    assert metrics == run.metrics
