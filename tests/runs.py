"""Runs for tests: the debug preset in this process, in a fraction of a second each."""

import copy
import functools
import re
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import pytest

from ostinato.cli import composition
from ostinato.cli.interpolation import masked
from ostinato.cli.validation import to_config
from ostinato.config import RunConfig
from ostinato.run.train import train
from ostinato.run_dir import RunDir, read_json
from ostinato.training import loop

DEBUG = (
    "experiment=debug",
    "data.limit_train=60",
    "data.limit_val=30",
    "data.limit_test=30",
    "training.eval_every=4",
)


class Killed(BaseException):
    """Simulates a kill between two steps: no code of the run may catch it."""


# The folder to resume differs in each test; the rest of a config often does not.
_RESUME = re.compile(r"resume\.run=([\w/.-]+)")


def configure(*overrides: str) -> tuple[RunConfig, dict]:
    """The config of the debug preset with overrides, typed and as plain data."""
    composed = [text for text in overrides if not _RESUME.fullmatch(text)]
    read_environment = any("${" in text for text in composed)
    composer = compose.__wrapped__ if read_environment else compose
    config, resolved = copy.deepcopy(composer(*DEBUG, *composed))
    for text in overrides:
        if resumed := _RESUME.fullmatch(text):
            config.resume.run = resolved["resume"]["run"] = resumed[1]
    return config, resolved


@functools.cache
def compose(*overrides: str) -> tuple[RunConfig, dict]:
    """The config of overrides, typed and as plain data. The caller changes neither."""
    composition.register_schemas()
    with composition.hydra_composition():
        cfg = composition.compose_command("train", list(overrides))
        return to_config(cfg, RunConfig), masked(cfg)


def train_in(folder: Path, *overrides: str, report: bool = False, **options) -> RunDir:
    """Trains in a folder and returns it.

    Args:
        folder: the run folder.
        *overrides: of the debug preset.
        report: write the report, which takes longer than the run.
        **options: of `train`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chooses_tracker = any(override.startswith("tracker") for override in overrides)
    if not chooses_tracker:
        overrides = ("tracker=jsonl", *overrides)
    config, resolved = configure(*overrides)
    run = RunDir(folder)
    with nullcontext() if report else without_report():
        train(config, run, resolved, **options)
    return run


def without_report():
    """Trains without writing the report."""
    return patch("ostinato.run.train.write_run_report")


def train_until_killed(monkeypatch, step: int, folder: Path, *overrides: str) -> None:
    """Trains in a folder until the run is killed after a step.

    Args:
        monkeypatch: pytest's fixture.
        step: number of steps before the kill.
        folder: the run folder.
        *overrides: of the debug preset.
    """
    original_step = loop.Training._step

    def step_until_killed(self):
        if self.state.step == step:
            raise Killed
        original_step(self)

    with monkeypatch.context() as patched:
        patched.setattr(loop.Training, "_step", step_until_killed)
        with pytest.raises(Killed):
            train_in(folder, *overrides)


def resume(run: RunDir, *overrides: str) -> RunDir:
    """Resumes a run in its folder."""
    return train_in(run.path, *overrides, f"resume.run={run.path}")


def assert_exact(monkeypatch, folder: Path, *overrides: str) -> tuple[RunDir, RunDir]:
    """Trains without a break, with a kill after step 3, and in three processes.

    Returns:
        The first and the last run, which computed the same.
    """
    overrides = (*overrides, "training.checkpoint_every=1")
    whole = train_in(folder / "whole", *overrides)
    killed = RunDir(folder / "killed")
    train_until_killed(monkeypatch, 3, killed.path, *overrides)
    assert fingerprint(resume(killed, *overrides)) == fingerprint(whole)
    three = train_in(folder / "three", "training.processes=3", *overrides)
    assert fingerprint(three) == fingerprint(whole)
    assert three.best_weights.read_bytes() == whole.best_weights.read_bytes()
    return whole, three


def fingerprint(run: RunDir) -> dict:
    """What the run computed."""
    return read_json(run.fingerprint)
