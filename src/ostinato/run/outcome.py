"""How a run ends, however it ends: `results.json`, the trackers, the report."""

import datetime
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ostinato.command_line import command, override
from ostinato.errors import Interrupted, ResumeRefused, UserError
from ostinato.record.files import write_results
from ostinato.redaction import redact
from ostinato.run_dir import RunDir
from ostinato.storage.atomic import storage_errors
from ostinato.trackers import Trackers

log = logging.getLogger(__name__)


@dataclass
class Outcome:
    """What a run leaves when it ends.

    Attributes:
        results: the content of `results.json`.
        began: whether this session has begun to change the folder; until then an earlier session's files stay.
        final: the final metrics, for the trackers.
        trackers: the observers.
        show: writes the report.
    """

    results: dict[str, Any]
    began: bool = False
    final: dict[str, float] = field(default_factory=dict)
    trackers: Trackers = field(default_factory=Trackers)
    show: Callable[[], None] = lambda: None


@contextmanager
def outcome_of(run: RunDir, name: str) -> Iterator[Outcome]:
    """Writes `results.json` and closes the trackers at the end.

    A session that fails before it begins leaves the `results.json` of an earlier session as it was.

    Raises:
        StorageError: the disk is full, or a file cannot be written.
    """
    outcome = Outcome({"name": name, "status": "finished", "started": now()})
    earlier = run.began
    before = time.perf_counter()
    remedy = f"make room, then go on with: {command('train', override('resume', str(run.path)))}"
    try:
        with storage_errors(run.path, remedy):
            yield outcome
            _write(run, outcome, before)
    except ResumeRefused:
        raise
    except BaseException as error:
        one_line = isinstance(error, UserError | Interrupted)
        outcome.results |= {
            "status": "interrupted"
            if isinstance(error, Interrupted | KeyboardInterrupt)
            else "failed",
            "error": redact(
                str(error) if one_line else f"{type(error).__name__}: {error}"
            ),
        }
        if outcome.began or not earlier:
            try:
                _write(run, outcome, before)
            except OSError as second:  # must not hide the first
                log.warning(
                    "%s could not be written (%s)", run.results, second.strerror
                )
        outcome.trackers.finish(outcome.results["status"], outcome.final)
        raise
    if run.best.is_dir():
        outcome.show()
        for path in (run.best, run.report):
            if path.exists():
                outcome.trackers.artefact(path)
    outcome.trackers.finish("finished", outcome.final)


def mark_unfinished(run: RunDir, outcome: Outcome) -> None:
    """Says in an earlier session's `results.json` that the run has not finished; keeps what was logged."""
    if run.results.is_file():
        metrics = outcome.trackers.history.metrics
        write_results(
            run,
            {
                "name": outcome.results["name"],
                "status": "unfinished",
                "metrics": metrics,
            },
        )


def _write(run: RunDir, outcome: Outcome, before: float) -> None:
    outcome.results |= {
        "finished": now(),
        "seconds": round(time.perf_counter() - before, 3),
    }
    outcome.results["metrics"] = outcome.trackers.history.metrics
    write_results(run, outcome.results)


def now() -> str:
    """The time in UTC, ISO 8601, in milliseconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
