"""Runs for tests: the debug preset in this process, in a fraction of a second each."""

from pathlib import Path

from ostinato import composition
from ostinato.config import RunConfig
from ostinato.run import train
from ostinato.run_dir import RunDir, read_json

DEBUG = ("experiment=debug", "data.limit_train=60", "data.limit_val=30", "data.limit_test=30", "training.eval_every=4")


def configure(*overrides: str) -> tuple[RunConfig, dict]:
    """The config of the debug preset with overrides, and its resolved form, as the command line makes them."""
    composition.register_schemas()
    with composition.hydra_composition():
        cfg = composition.compose_command("train", [*DEBUG, *overrides])
        config, resolved = composition.to_config(cfg, RunConfig), composition.masked(cfg)
    return config, resolved


def train_in(folder: Path, *overrides: str, **options) -> RunDir:
    """Trains in a folder and returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    config, resolved = configure(*overrides)
    run = RunDir(folder)
    train(config, run, resolved, **options)
    return run


def fingerprint(run: RunDir) -> dict:
    """What the run computed."""
    return read_json(run.fingerprint)
