"""Trackers observe: whatever they do, the run goes on, and nothing random moves."""

import json
import logging
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from runs import train_in, train_until_killed
from tracked import from_jsonl, from_results

from ostinato.cli.composition import register_schemas
from ostinato.cli.mistakes import find_problems
from ostinato.config import JsonlConfig, TensorboardConfig, TrackerConfig
from ostinato.run_dir import RunDir, read_config, read_json
from ostinato.scoring.plots import confusion_matrix
from ostinato.trackers import Trackers, build

ALL = TrackerConfig(tensorboard=TensorboardConfig(), jsonl=JsonlConfig())


def tell_everything(trackers: Trackers, steps=range(1, 4)) -> None:
    trackers.start(
        {
            "training": {"lr": 1e-4, "seed": 0},
            "name": "x",
            "flag": True,
            "nothing": None,
        },
        {"git": "abc"},
    )
    for step in steps:
        trackers.log(step, {"train/loss": 1 / step, "train/lr": 1e-4})
    trackers.plot(
        3,
        "val/confusion_matrix",
        confusion_matrix(np.eye(2, dtype=np.int64), ["a", "b"]),
    )
    trackers.pr_curves(
        3, "val", np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 0]), ["a", "b"]
    )
    trackers.artefact(Path(__file__))
    trackers.finish("finished", {"test/accuracy": 0.5})


def logged(run: RunDir) -> list[tuple[int, str, float]]:
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert all(
        set(line) == {"step", "time", "name", "value", "crc32"} for line in lines
    )
    return [(line["step"], line["name"], line["value"]) for line in lines]


def expected(steps) -> list[tuple[int, str, float]]:
    return [
        entry
        for step in steps
        for entry in ((step, "train/loss", 1 / step), (step, "train/lr", 1e-4))
    ]


class Failing:
    """Fails or hangs in one method, and counts what it is told."""

    def __init__(self, method: str, fail: Callable[[], None] | None = None) -> None:
        self.method, self.fail, self.told = method, fail or self.disk_full, []

    def __getattr__(self, name):
        def told(*arguments):
            self.told.append(name)
            if name == self.method:
                self.fail()

        return told

    @staticmethod
    def disk_full():
        raise OSError(28, "No space left on device")


METHODS = ["start", "log", "plot", "pr_curves", "artefact", "finish"]


def test_no_tracker_is_fine():
    tell_everything(Trackers())


@pytest.mark.parametrize("method", METHODS)
def test_a_tracker_that_fails_is_named_once_and_left_out_while_the_others_go_on(
    caplog, method
):
    bad, good = Failing(method), Failing("none")
    with caplog.at_level(logging.WARNING):
        tell_everything(Trackers({"bad": lambda: bad, "good": lambda: good}))
    assert bad.told.count(method) == 1
    assert bad.told[-1] == method
    assert good.told == [
        "start",
        "log",
        "log",
        "log",
        "plot",
        "pr_curves",
        "artefact",
        "finish",
    ]
    (record,) = caplog.records
    assert "bad" in record.getMessage()
    assert "No space left on device" in record.getMessage()


@pytest.mark.parametrize("method", METHODS)
def test_a_tracker_that_hangs_is_waited_for_once(caplog, method, monkeypatch):
    monkeypatch.setattr("ostinato.trackers.tracker.UPLOAD_FACTOR", 2)
    bad, good = Failing(method, threading.Event().wait), Failing("none")
    before = time.monotonic()
    tell_everything(Trackers({"bad": lambda: bad, "good": lambda: good}, timeout=0.2))
    assert time.monotonic() - before < 2
    assert bad.told[-1] == method
    assert len(good.told) == 8
    (record,) = caplog.records
    assert (
        "tracker bad failed and is left out from here on: no answer within"
        in record.getMessage()
    )


def test_a_slow_tracker_is_told_everything_in_order(caplog):
    slow = Failing("log", lambda: time.sleep(0.1))
    tell_everything(Trackers({"slow": lambda: slow}, timeout=30))
    assert slow.told == [
        "start",
        "log",
        "log",
        "log",
        "plot",
        "pr_curves",
        "artefact",
        "finish",
    ]
    assert not caplog.records


@pytest.mark.parametrize("what", ["making", "calling"])
def test_a_process_does_not_wait_for_a_tracker_that_hangs(what):
    code = f"""
import threading
from ostinato.trackers import Trackers
class Hanging:
    def start(self, *arguments): threading.Event().wait()
make = threading.Event().wait if {what == "making"} else Hanging
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


@pytest.mark.parametrize("error", [ImportError("broken"), SystemExit(3), MemoryError()])
def test_a_tracker_that_cannot_be_made_is_left_out(caplog, error):
    def make():
        raise error

    tell_everything(Trackers({"bad": make}))
    (record,) = caplog.records
    assert type(error).__name__ in record.getMessage()


def test_a_password_in_an_address_is_not_repeated(caplog):
    def refused():
        raise ConnectionError(
            "no route\nto http://me:secret@host/api"
        )  # pragma: allowlist secret

    tell_everything(Trackers({"bad": lambda: Failing("log", refused)}))
    assert (
        caplog.records[0]
        .getMessage()
        .endswith("ConnectionError: no route to http://***@host/api")
    )


def test_a_folder_that_cannot_be_written_stops_no_run(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        tell_everything(build(ALL, RunDir(tmp_path / "file")))
    assert len(caplog.records) == 2  # each tracker once


def test_an_interrupt_is_no_failure_of_a_tracker():
    class Interrupted(Failing):
        def log(self, step, values):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tell_everything(Trackers({"one": lambda: Interrupted("none")}))


def test_no_global_generator_moves(tmp_path):
    torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1:3], torch.get_rng_state()
    tell_everything(build(ALL, RunDir(tmp_path)))
    after = random.getstate(), np.random.get_state()[1:3], torch.get_rng_state()
    assert before[0] == after[0]
    assert np.array_equal(before[1][0], after[1][0])
    assert before[1][1] == after[1][1]
    assert torch.equal(before[2], after[2])


def test_nothing_is_written_outside_the_run_folder_or_without_being_chosen(tmp_path):
    run = RunDir(tmp_path / "run")
    run.path.mkdir()
    tell_everything(build(TrackerConfig(), run))
    assert list(tmp_path.rglob("*")) == [run.path]
    tell_everything(build(ALL, run))
    events, metrics = sorted(run.path.iterdir())
    assert list(tmp_path.iterdir()) == [run.path]
    assert events.name.startswith("events.out.tfevents.")
    assert metrics == run.metrics


def test_every_logged_value_is_a_line(tmp_path):
    run = RunDir(tmp_path)
    tell_everything(build(ALL, run))
    assert logged(run) == expected([1, 2, 3])


def test_a_value_is_on_disk_as_soon_as_it_is_logged(tmp_path):
    run = RunDir(tmp_path)
    trackers = build(TrackerConfig(jsonl=JsonlConfig()), run)
    trackers.start({}, {})
    trackers.log(1, {"train/loss": 1.0, "train/lr": 1e-4})
    assert logged(run) == expected([1])


@pytest.mark.parametrize(
    "torn", ["", "\n", '\n{"step": 4, "ti', '\n{"step": "x"}\n', "\n[1]\n"]
)
def test_a_run_that_goes_on_leaves_the_lines_of_one_that_never_stopped(tmp_path, torn):
    run = RunDir(tmp_path)
    tell_everything(build(ALL, run), range(1, 6))
    run.metrics.write_text(run.metrics.read_text().removesuffix("\n") + torn)
    tell_everything(build(ALL, run, step=3), range(4, 8))
    assert logged(run) == expected(range(1, 8))


def test_a_value_that_is_no_number_is_never_written_as_broken_json(tmp_path, caplog):
    run = RunDir(tmp_path)
    trackers = build(TrackerConfig(jsonl=JsonlConfig()), run)
    trackers.start({}, {})
    trackers.log(1, {"train/loss": float("nan")})
    assert logged(run) == []
    assert "jsonl" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("chosen", ["[]", "[jsonl]"])
@pytest.mark.parametrize("killed", [False, True])
def test_results_hold_the_history_of_every_metric_whatever_trackers_are_on(
    tmp_path, monkeypatch, chosen, killed
):
    options = [
        f"tracker={chosen}",
        "training.log_every=1",
        "training.checkpoint_every=4",
    ]
    if killed:
        train_until_killed(monkeypatch, 6, tmp_path / "run", *options)
        options.append(f"resume.run={tmp_path / 'run'}")
    run = train_in(tmp_path / "run", *options)
    whole = from_jsonl(
        train_in(tmp_path / "whole", "tracker=[jsonl]", "training.log_every=1")
    )
    history = from_results(run)
    assert {at: v for at, v in history.items() if not at[0].endswith("_per_s")} == {
        at: v for at, v in whole.items() if not at[0].endswith("_per_s")
    }
    assert set(history) == set(whole)
    results = read_json(run.results)
    assert results["name"] == "debug"
    assert results["config"] == read_config(run)
    times = [
        [point["timestamp"] for point in points]
        for points in results["metrics"].values()
    ]
    assert all(points == sorted(points) for points in times)


def test_results_read_into_pandas_in_three_lines(tmp_path):
    pd = pytest.importorskip("pandas")
    run = train_in(tmp_path, "tracker=[]", "training.log_every=1")
    metrics = json.loads(run.results.read_text())["metrics"]
    frame = pd.concat(
        {name: pd.DataFrame(points) for name, points in metrics.items()},
        names=["metric"],
    )
    table = frame.pivot_table(index="step", columns="metric", values="value")
    assert table.loc[4, "val/loss"] == from_results(run)["val/loss", 4][0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlflow", "wandb", "dvclive"])
def test_a_tracker_whose_package_is_missing_is_said_at_the_door(monkeypatch, name):
    register_schemas()
    monkeypatch.setitem(sys.modules, name, None)
    problems = find_problems("train", [f"tracker=[jsonl,{name}]"], multirun=False)
    assert problems == [f"tracker={name}: needs pip install 'ostinato[{name}]'"]
    assert find_problems("train", ["tracker=jsonl"], multirun=False) == []
    assert find_problems("train", ["tracker=[]"], multirun=False) == []


def test_a_key_of_a_tracker_that_was_not_chosen_is_said():
    register_schemas()
    said = "tracker.mlflow.uri=x: has no effect without tracker=mlflow; add mlflow to tracker=[...]"
    typed = ["tracker.mlflow.uri=x", "tracker.tensorboard.flush_secs=5"]
    assert find_problems("train", typed, multirun=False) == [said]
    beside, again = find_problems(
        "train", [*typed, "training.epochs=many"], multirun=False
    )
    assert (beside.split(":")[0], again) == ("training.epochs=many", said)
