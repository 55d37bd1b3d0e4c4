"""Calls every method of trackers, and a tracker that fails or hangs."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ostinato.config import JsonlConfig, TensorboardConfig, TrackerConfig
from ostinato.run_dir import RunDir
from ostinato.scoring.plots import confusion_matrix
from ostinato.trackers import Trackers

TWO_TRACKERS = TrackerConfig(tensorboard=TensorboardConfig(), jsonl=JsonlConfig())

ALL_CALLS = [
    "start",
    "log",
    "log",
    "log",
    "plot",
    "pr_curves",
    "artefact",
    "finish",
]
"""The calls of `call_all_methods`, in order."""

METHODS = sorted(set(ALL_CALLS))


def call_all_methods(trackers: Trackers, steps=range(1, 4)) -> None:
    config = {
        "training": {"lr": 1e-4, "seed": 0},
        "name": "x",
        "flag": True,
        "nothing": None,
    }
    trackers.start(config, {"git": "abc"})
    for step in steps:
        trackers.log(step, {"train/loss": 1 / step, "train/lr": 1e-4})
    plot = confusion_matrix(np.eye(2, dtype=np.int64), ["a", "b"])
    trackers.plot(3, "val/confusion_matrix", plot)
    scores = np.array([[0.1, 0.9], [0.8, 0.2]])
    trackers.pr_curves(3, "val", scores, np.array([1, 0]), ["a", "b"])
    trackers.artefact(Path(__file__))
    trackers.finish("finished", {"test/accuracy": 0.5})


def logged_values(run: RunDir) -> list[tuple[int, str, float]]:
    """(step, name, value) of each line of metrics.jsonl."""
    values = []
    for text in run.metrics.read_text().splitlines():
        line = json.loads(text)
        assert set(line) == {"step", "time", "name", "value", "crc32"}
        values.append((line["step"], line["name"], line["value"]))
    return values


def expected_values(steps) -> list[tuple[int, str, float]]:
    """What `call_all_methods` logs."""
    values = []
    for step in steps:
        values += [(step, "train/loss", 1 / step), (step, "train/lr", 1e-4)]
    return values


class FakeTracker:
    """Records its calls, and fails or hangs in one method.

    Args:
        method: the method that fails; "none" fails nowhere.
        fail: called in this method; raises an error by default.
    """

    def __init__(self, method: str, fail: Callable[[], None] | None = None) -> None:
        self.method = method
        self.fail = fail or self.raise_disk_full
        self.calls = []

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append(name)
            if name == self.method:
                self.fail()

        return call

    @staticmethod
    def raise_disk_full():
        raise OSError(28, "No space left on device")
