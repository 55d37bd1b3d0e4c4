"""The proof: trains a run again from what its folder records, and compares bit for bit.

No tolerance. What it leaves out of the comparison is `drift.OBSERVERS` and every file but `fingerprint.json`: times,
logs, trackers.
"""

import dataclasses
import datetime
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ostinato.config import ReproduceConfig, ResumeConfig, RunConfig, TrackerConfig
from ostinato.errors import ConfigError
from ostinato.model.trained import verify_best
from ostinato.record.drift import changed_config, config_drift, environment_drift
from ostinato.record.fingerprint import first_difference
from ostinato.record.schema import Fingerprint, Provenance, Results
from ostinato.run.identity import describe_start
from ostinato.run.train import train
from ostinato.run_dir import RunDir, read_config, read_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """Whether a run stands; if not, what differs, most telling first."""

    identical: bool
    lines: list[str]


def reproduce(cfg: ReproduceConfig, run: RunDir, config: RunConfig) -> Verdict:
    """Trains the run again, or compares it with another.

    Args:
        cfg: what to compare, and how far.
        run: the run to prove.
        config: its config.

    Raises:
        UserError: a folder that is not complete, or data and models that cannot be found any more.
    """
    recorded = read_json(run.fingerprint, Fingerprint)
    if cfg.against is not None:
        other = RunDir.existing(cfg.against)
        causes = config_drift(read_config(run), read_config(other))
        causes += environment_drift(
            read_json(run.provenance, Provenance),
            read_json(other.provenance, Provenance),
        )
        return _verdict(
            recorded, read_json(other.fingerprint, Fingerprint), causes, cfg.until_step
        )
    changed = _changed_since(run)
    if changed:
        return Verdict(
            False, ["not identical: the run folder is not what the run left", *changed]
        )
    config = dataclasses.replace(config, resume=ResumeConfig(), tracker=TrackerConfig())
    causes = environment_drift(
        read_json(run.provenance, Provenance), describe_start(config)
    )
    parted = [
        line for line in causes if line.startswith(("data", "tokens", "token_ids"))
    ]
    if parted:
        return Verdict(
            False,
            [
                f"not identical: {parted[0].split(':')[0]} parted before the first step",
                *causes,
            ],
        )
    for cause in causes:
        log.warning("the environment differs: %s", cause)
    again = RunDir(_own_folder(Path(cfg.output), run.path.resolve().name))
    log.info("training again in %s", again.path)
    train(config, again, read_config(run), cfg.until_step)
    return _verdict(recorded, read_json(again.fingerprint), causes, cfg.until_step)


def _changed_since(run: RunDir) -> list[str]:
    """What somebody changed in the run folder after the run had ended."""
    if read_json(run.results, Results).get("config") is None:
        raise ConfigError(
            [
                f"{run.results}: holds no config; only a finished run can be trained again"
            ]
        )
    if changed := changed_config(run):
        return [f"{run.config.name}: {line}" for line in changed]
    try:
        verify_best(run)
    except ConfigError as error:
        return error.problems
    return []


def _verdict(
    first: dict[str, Any],
    second: dict[str, Any],
    causes: list[str],
    until_step: int | None,
) -> Verdict:
    difference = first_difference(first, second, until_step)
    if difference is None and not causes:
        steps = len(second["steps"])
        rest = "" if until_step else ", every evaluation, weights and predictions"
        return Verdict(
            True, [f"identical: {steps} steps (order, loss, gradient norm){rest}"]
        )
    if difference is None:
        return Verdict(
            False,
            [
                "the same numbers, but not from the same config and environment:",
                *causes,
            ],
        )
    why = causes or [
        "nothing that is recorded differs: the hardware, or an operation that is not deterministic"
    ]
    return Verdict(False, [f"not identical: {difference}", *why])


def _own_folder(parent: Path, name: str) -> Path:
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
    folder = parent / f"{stamp}_{name}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(
            [f"output={parent}: cannot be written ({error.strerror})"]
        ) from None
    return folder
