"""Trains a run again from what its folder records, and compares bit for bit.

The comparison has no tolerance. It covers `fingerprint.json`; times, logs, trackers
and the keys of `decisive.OBSERVERS` are left out.
"""

import dataclasses
import datetime
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ostinato.config import ReproduceConfig, ResumeConfig, RunConfig, TrackerConfig
from ostinato.errors import ConfigError
from ostinato.model.trained import verify_best
from ostinato.record.difference import first_difference
from ostinato.record.drift import (
    Drift,
    changed_config,
    config_drift,
    environment_drift,
)
from ostinato.record.files import read_fingerprint, read_provenance, read_results
from ostinato.record.schema import Fingerprint
from ostinato.run.identity import describe_start
from ostinato.run.process_numbers import recorded_threads
from ostinato.run.train import train
from ostinato.run_dir import RunDir, read_config

log = logging.getLogger(__name__)

_DATA_PARTS = ("data", "tokens", "token_ids")


@dataclass(frozen=True)
class Verdict:
    """The result of a reproduction.

    Attributes:
        identical: whether everything is identical.
        lines: the verdict, and what differs, the best explanation first.
    """

    identical: bool
    lines: list[str]


def reproduce(cfg: ReproduceConfig, run: RunDir, config: RunConfig) -> Verdict:
    """Trains a run again, or compares it with another run.

    Args:
        cfg: what to compare, and up to which step.
        run: the run to reproduce.
        config: its config.

    Returns:
        The verdict.

    Raises:
        UserError: a folder is not complete, or the data or the model cannot be found.
    """
    recorded = read_fingerprint(run)
    if cfg.against is not None:
        other = RunDir.existing(cfg.against)
        return _compare(run, recorded, other, cfg.until_step)
    changes = _changes_after_end(run)
    if changes:
        first_line = "not identical: the run folder was changed after the run ended"
        return Verdict(False, [first_line, *changes])
    return _train_again(cfg, run, recorded, config)


def _compare(
    run: RunDir,
    recorded: Fingerprint,
    other: RunDir,
    until_step: int | None,
) -> Verdict:
    """Compares two finished runs."""
    causes = config_drift(read_config(run), read_config(other))
    causes += environment_drift(read_provenance(run), read_provenance(other))
    return _verdict(recorded, read_fingerprint(other), causes, until_step)


def _train_again(
    cfg: ReproduceConfig,
    run: RunDir,
    recorded: Fingerprint,
    config: RunConfig,
) -> Verdict:
    """Trains the run in a new folder, unless its data differs."""
    threads = config.training.threads or recorded_threads(run)
    training = dataclasses.replace(config.training, threads=threads)
    config = dataclasses.replace(
        config, training=training, resume=ResumeConfig(), tracker=TrackerConfig()
    )
    causes = environment_drift(read_provenance(run), describe_start(config))
    for cause in causes:
        if cause.part in _DATA_PARTS:
            first_line = f"not identical: {cause.key} differs before the first step"
            return Verdict(False, [first_line, *map(str, causes)])
    for cause in causes:
        log.warning("the environment differs: %s", cause)
    again = RunDir(_new_folder(Path(cfg.output), run.path.resolve().name))
    log.info("training again in %s", again.path)
    train(config, again, read_config(run), cfg.until_step)
    return _verdict(recorded, read_fingerprint(again), causes, cfg.until_step)


def _changes_after_end(run: RunDir) -> list[str]:
    """A line for each change to the run folder after the run ended."""
    if "config" not in read_results(run):
        reason = "holds no config; only a finished run can be trained again"
        raise ConfigError([f"{run.results}: {reason}"])
    changes = changed_config(run)
    if changes:
        return [f"{run.config.name}: {change}" for change in changes]
    try:
        verify_best(run)
    except ConfigError as error:
        return error.problems
    return []


def _verdict(
    first: Fingerprint,
    second: Fingerprint,
    causes: Sequence[Drift],
    until_step: int | None,
) -> Verdict:
    difference = first_difference(first, second, until_step)
    lines = [str(cause) for cause in causes]
    if difference is not None:
        if not lines:
            lines = [
                "no recorded value differs; "
                "the cause is the hardware or a nondeterministic operation"
            ]
        return Verdict(False, [f"not identical: {difference}", *lines])
    if lines:
        first_line = "the numbers are identical, but the config or environment differs:"
        return Verdict(False, [first_line, *lines])
    steps = len(second["steps"])
    rest = "" if until_step else ", every evaluation, weights and predictions"
    return Verdict(
        True, [f"identical: {steps} steps (order, loss, gradient norm){rest}"]
    )


def _new_folder(parent: Path, name: str) -> Path:
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
    folder = parent / f"{stamp}_{name}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        reason = f"cannot be written ({error.strerror})"
        raise ConfigError([f"output={parent}: {reason}"]) from None
    return folder
