"""What happens to the records of an earlier session when a run resumes."""

from collections.abc import Mapping
from typing import Any

from ostinato.config import RunConfig
from ostinato.errors import ResumeRefused
from ostinato.record.drift import config_drift, environment_drift
from ostinato.record.files import read_provenance, write_provenance
from ostinato.record.results import finished_metric
from ostinato.record.schema import Provenance
from ostinato.run.outcome import Outcome, mark_unfinished, now
from ostinato.run_dir import RunDir, read_config, write_config
from ostinato.trackers import Trackers


def metric_if_finished(run: RunDir, resolved: Mapping[str, Any]) -> float | None:
    """The best metric of a run that has finished with the same config.

    Args:
        run: the run folder.
        resolved: the config of this session.

    Returns:
        The best monitored validation metric; None if there is something left to train.
    """
    metric = finished_metric(run)
    if metric is None or config_drift(read_config(run), resolved):
        return None
    return metric


def check_drift(
    config: RunConfig,
    run: RunDir,
    resolved: Mapping[str, Any],
    provenance: Provenance,
) -> list[dict[str, Any]]:
    """Compares what the run began with to what it would resume with.

    Args:
        config: the config of this session.
        run: the run folder.
        resolved: the config as plain data.
        provenance: what this session computes on and with.

    Returns:
        The record of all resumptions of the run: {"time": ..., "drift": [...]}.

    Raises:
        ResumeRefused: something that decides the result has changed.
    """
    began = read_provenance(run)
    _check_base(run, began, provenance)
    drift = config_drift(read_config(run), resolved)
    drift += environment_drift(began, provenance)
    if drift and not config.resume.allow_drift:
        lines = [f"resume={run.path}: {difference}" for difference in drift]
        allow = "resume.allow_drift=true resumes anyway and records the differences"
        raise ResumeRefused([*lines, f"{allow}; to start a new run, omit resume"])
    lines = [str(difference) for difference in drift]
    return [*began.get("resumed", []), {"time": now(), "drift": lines}]


def _check_base(run: RunDir, began: Provenance, provenance: Provenance) -> None:
    """Refuses another base model, also with `resume.allow_drift`.

    The checkpoints hold the adapter only, which belongs to its base model.
    """
    earlier, now_found = began.get("base"), provenance.get("base")
    if earlier and now_found and earlier.get("weights") != now_found.get("weights"):
        problem = "model.name has other weights than the base model of this run"
        remedy = "restore the model, or start a new run"
        raise ResumeRefused([f"resume={run.path}: {problem}; {remedy}"])


def begin_session(
    run: RunDir,
    outcome: Outcome,
    trackers: Trackers,
    resolved: Mapping[str, Any],
    provenance: Provenance,
) -> None:
    """Replaces the records of an earlier session and starts the trackers, once.

    Called after the first step, because that step can fail: until then the records of
    the earlier session and what its trackers wrote are kept.

    Args:
        run: the run folder.
        outcome: of this session.
        trackers: of this session.
        resolved: the config as plain data.
        provenance: what this session computes on and with.
    """
    if outcome.began:
        return
    outcome.trackers = trackers
    # Write the config last: a run that is killed before it is not finished, and still
    # has the config of its weights.
    run.fingerprint.unlink(missing_ok=True)
    mark_unfinished(run, outcome)
    write_provenance(run, provenance)
    write_config(run, resolved)
    outcome.began = True
    trackers.start(resolved, provenance)
