"""How a run ends, with or without an error: `results.json`, trackers, report."""

import datetime
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ostinato.errors import Interrupted, ResumeRefused, UserError
from ostinato.record.files import write_results
from ostinato.redaction import redact
from ostinato.run_dir import RunDir
from ostinato.storage.atomic import storage_errors
from ostinato.trackers import Trackers
from ostinato.training.resume import resume_command

log = logging.getLogger(__name__)


def _write_nothing() -> None:
    pass


@dataclass
class Outcome:
    """What a run writes when it ends.

    Attributes:
        results: the content of `results.json`.
        began: whether this session has begun to change the folder; until then the files
            of an earlier session are kept.
        final: the final metrics, for the trackers.
        trackers: the observers.
        write_report: writes the report.
        started: the time when the session started, as `time.perf_counter` counts it.
    """

    results: dict[str, Any]
    began: bool = False
    final: dict[str, float] = field(default_factory=dict)
    trackers: Trackers = field(default_factory=Trackers)
    write_report: Callable[[], None] = _write_nothing
    started: float = field(default_factory=time.perf_counter)


@contextmanager
def outcome_of(run: RunDir, name: str) -> Iterator[Outcome]:
    """Writes `results.json` and closes the trackers at the end.

    A session that fails before it begins keeps the `results.json` of an earlier
    session.

    Args:
        run: the run folder.
        name: the name of the run.

    Raises:
        StorageError: the disk is full, or a file cannot be written.
    """
    outcome = Outcome({"name": name, "status": "finished", "started": now()})
    had_begun = run.began
    resume = resume_command(run)
    try:
        with storage_errors(run.path, f"free some space, then resume with: {resume}"):
            yield outcome
            _write_results(run, outcome)
    except ResumeRefused:
        raise
    except BaseException as error:
        outcome.results["status"] = _status_after(error)
        outcome.results["error"] = _message_of(error)
        if outcome.began or not had_begun:
            _try_to_write_results(run, outcome)
        outcome.trackers.finish(outcome.results["status"], outcome.final)
        raise
    if run.best.is_dir():
        outcome.write_report()
        _upload(run, outcome.trackers)
    outcome.trackers.finish("finished", outcome.final)


def mark_unfinished(run: RunDir, outcome: Outcome) -> None:
    """Marks the run of an earlier session as unfinished, and keeps what was logged."""
    if not run.results.is_file():
        return
    record = {
        "name": outcome.results["name"],
        "status": "unfinished",
        "metrics": outcome.trackers.history.metrics,
    }
    write_results(run, record)


def now() -> str:
    """The time in UTC, ISO 8601, in milliseconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def _status_after(error: BaseException) -> str:
    if isinstance(error, Interrupted | KeyboardInterrupt):
        return "interrupted"
    return "failed"


def _message_of(error: BaseException) -> str:
    if isinstance(error, UserError | Interrupted):
        return redact(str(error))
    return redact(f"{type(error).__name__}: {error}")


def _write_results(run: RunDir, outcome: Outcome) -> None:
    seconds = time.perf_counter() - outcome.started
    outcome.results["finished"] = now()
    outcome.results["seconds"] = round(seconds, 3)
    outcome.results["metrics"] = outcome.trackers.history.metrics
    write_results(run, outcome.results)


def _try_to_write_results(run: RunDir, outcome: Outcome) -> None:
    """Writes the results of a run that failed, without hiding its error."""
    try:
        _write_results(run, outcome)
    except OSError as error:
        log.warning("%s could not be written (%s)", run.results, error.strerror)


def _upload(run: RunDir, trackers: Trackers) -> None:
    for path in (run.best, run.report):
        if path.exists():
            trackers.artefact(path)
