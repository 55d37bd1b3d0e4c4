"""Trackers observe: whatever they do, the run goes on, and nothing random moves."""

import json
import logging
import random

import numpy as np
import pytest
import torch

from ostinato.config import JsonlConfig, TensorboardConfig, TrackerConfig
from ostinato.figures import confusion_matrix
from ostinato.run_dir import RunDir
from ostinato.trackers import Trackers, build

ALL = TrackerConfig(tensorboard=TensorboardConfig(), jsonl=JsonlConfig())


def tell_everything(trackers: Trackers, steps=range(1, 4)) -> None:
    trackers.start({"training": {"lr": 1e-4, "seed": 0}, "name": "x", "flag": True, "nothing": None}, {"git": "abc"})
    for step in steps:
        trackers.log(step, {"train/loss": 1 / step, "train/lr": 1e-4})
    trackers.figure(3, "val/confusion_matrix", confusion_matrix(np.eye(2, dtype=np.int64), ["a", "b"]))
    trackers.pr_curves(3, "val", np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 0]), ["a", "b"])
    trackers.finish("finished", {"test/accuracy": 0.5})


def logged(run: RunDir) -> list[tuple[int, str, float]]:
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert all(set(line) == {"step", "time", "name", "value"} for line in lines)
    return [(line["step"], line["name"], line["value"]) for line in lines]


def expected(steps) -> list[tuple[int, str, float]]:
    return [entry for step in steps for entry in ((step, "train/loss", 1 / step), (step, "train/lr", 1e-4))]


class Failing:
    """Fails in one method, and counts what it is told."""

    def __init__(self, method: str) -> None:
        self.method, self.told = method, []

    def __getattr__(self, name):
        def told(*arguments):
            self.told.append(name)
            if name == self.method:
                raise OSError(28, "No space left on device")

        return told


def test_no_tracker_is_fine():
    tell_everything(Trackers())


@pytest.mark.parametrize("method", ["start", "log", "figure", "pr_curves", "finish"])
def test_a_tracker_that_fails_is_named_once_and_left_out_while_the_others_go_on(tmp_path, caplog, method):
    bad, good = Failing(method), Failing("none")
    with caplog.at_level(logging.WARNING):
        tell_everything(Trackers({"bad": bad, "good": good}))
    assert bad.told.count(method) == 1
    assert bad.told[-1] == method
    assert good.told == ["start", "log", "log", "log", "figure", "pr_curves", "finish"]
    (record,) = caplog.records
    assert "bad" in record.getMessage()
    assert "No space left on device" in record.getMessage()


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
        tell_everything(Trackers({"one": Interrupted("none")}))


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


@pytest.mark.parametrize("torn", ["", "\n", '\n{"step": 4, "ti', '\n{"step": "x"}\n', "\n[1]\n"])
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
