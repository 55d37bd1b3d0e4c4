"""Every logged metric of a run in memory, for `results.json`. No tracker: it cannot fail and is always there."""

import datetime
import json
import logging
import math
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ostinato.errors import ConfigError
from ostinato.record.files import read_results
from ostinato.run_dir import RunDir

log = logging.getLogger(__name__)

_CHECKSUM = "crc32"
_LATEST = 1e11  # seconds; a later time is no date

Point = dict[str, Any]
"""{"value": float, "step": int, "timestamp": ISO 8601 in UTC}."""


class History:
    """What was logged, by name, in the order of logging.

    Attributes:
        metrics: the points of each metric.
    """

    def __init__(self, metrics: dict[str, list[Point]] | None = None) -> None:
        self.metrics = metrics or {}

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Keeps metrics; what is no number has no place in JSON."""
        now = _iso(datetime.datetime.now(datetime.UTC))
        for name, value in values.items():
            if math.isfinite(value):
                self.metrics.setdefault(name, []).append(
                    {"value": value, "step": step, "timestamp": now}
                )

    @classmethod
    def until(cls, run: RunDir, step: int | None = None) -> "History":
        """What a run folder logged: its `metrics.jsonl`, else an earlier `results.json`.

        Args:
            run: the folder. Without these files, the history of a killed run begins at the step that it goes on from.
            step: what is computed again when a run goes on from this step is left out; None leaves nothing out.
        """
        points = {
            (name, point["step"]): point
            for name, point in [*_results(run), *_lines(run)]
        }
        history = cls()
        for (name, at), point in sorted(points.items(), key=lambda entry: entry[0][1]):
            if step is None or stays(name, at, step):
                history.metrics.setdefault(name, []).append(point)
        return history


def _results(run: RunDir) -> Iterator[tuple[str, Point]]:
    try:
        metrics = read_results(run).get("metrics", {})
    except ConfigError:
        return  # the run has not ended before
    for name, points in metrics.items():
        yield from (
            (name, point) for point in points if isinstance(point.get("step"), int)
        )


def _lines(run: RunDir) -> Iterator[tuple[str, Point]]:
    for entry in read_lines(run.metrics):
        time = datetime.datetime.fromtimestamp(entry["time"], datetime.UTC)
        yield (
            entry["name"],
            {"value": entry["value"], "step": entry["step"], "timestamp": _iso(time)},
        )


def stays(name: str, at: int, step: int) -> bool:
    """Whether a metric that was logged at step `at` stays when the run goes on from `step`; the end comes again."""
    return at <= step and not name.startswith("test/")


def to_line(entry: Mapping[str, Any]) -> str:
    """A metric as a line of `metrics.jsonl`, with a checksum of its content."""
    return json.dumps({**entry, _CHECKSUM: _checksum(entry)}, allow_nan=False) + "\n"


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Reads the lines of `metrics.jsonl`, without their checksums; names a damaged line and leaves it out."""
    lines = path.read_bytes().split(b"\n") if path.is_file() else [b""]
    for number, line in enumerate(lines[:-1], start=1):  # the last may be cut off
        try:
            entry = json.loads(line)
            good = entry.pop(_CHECKSUM, None) in (
                None,
                _checksum(entry),
            )  # earlier versions wrote none
            good = (
                good
                and isinstance(entry["step"], int)
                and isinstance(entry["name"], str)
            )
            good = (
                good
                and isinstance(entry["value"], int | float)
                and 0 <= entry["time"] < _LATEST
            )
        except (ValueError, TypeError, AttributeError, KeyError):
            good = False
        if good:
            yield entry
        else:
            log.warning("%s: line %d is damaged and left out", path, number)


def _checksum(entry: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(entry, sort_keys=True).encode())


def _iso(time: datetime.datetime) -> str:
    return time.isoformat(timespec="milliseconds")
