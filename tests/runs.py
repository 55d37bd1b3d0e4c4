"""Runs for tests: the debug preset in this process, in a fraction of a second each."""

from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

from ostinato.cli import composition
from ostinato.config import RunConfig
from ostinato.run.train import train
from ostinato.run_dir import RunDir, read_json

DEBUG = (
    "experiment=debug",
    "data.limit_train=60",
    "data.limit_val=30",
    "data.limit_test=30",
    "training.eval_every=4",
)


def configure(*overrides: str) -> tuple[RunConfig, dict]:
    """The config of the debug preset with overrides, and its resolved form, as the command line makes them."""
    composition.register_schemas()
    with composition.hydra_composition():
        cfg = composition.compose_command("train", [*DEBUG, *overrides])
        config, resolved = (
            composition.to_config(cfg, RunConfig),
            composition.masked(cfg),
        )
    return config, resolved


def train_in(folder: Path, *overrides: str, report: bool = False, **options) -> RunDir:
    """Trains in a folder and returns it; without pictures, which take longer than the run, where none are asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    tracker = (
        []
        if any(override.startswith("tracker") for override in overrides)
        else ["tracker=jsonl"]
    )
    config, resolved = configure(*tracker, *overrides)
    run = RunDir(folder)
    with nullcontext() if report else patch("ostinato.run.train.write_run_report"):
        train(config, run, resolved, **options)
    return run


def fingerprint(run: RunDir) -> dict:
    """What the run computed."""
    return read_json(run.fingerprint)
