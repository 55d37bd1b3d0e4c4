"""Keeps every logged metric of a run in memory, for `results.json`."""

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
from ostinato.storage.parsing import parse_json

log = logging.getLogger(__name__)

_CHECKSUM = "crc32"
_MAX_TIME = 1e11  # seconds; later times are not valid dates

Point = dict[str, Any]
"""{"value": float, "step": int, "timestamp": ISO 8601 in UTC}."""


class History:
    """Logged metrics by name, in the order of logging.

    It is not a tracker: it cannot fail, and every run has it.

    Attributes:
        metrics: points of each metric.
    """

    def __init__(self, metrics: dict[str, list[Point]] | None = None) -> None:
        self.metrics = metrics or {}

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Adds metrics; NaN and infinity are left out, because JSON cannot hold them.

        Args:
            step: optimizer step.
            values: values by name.
        """
        now = _iso(datetime.datetime.now(datetime.UTC))
        for name, value in values.items():
            if math.isfinite(value):
                point = {"value": value, "step": step, "timestamp": now}
                self.metrics.setdefault(name, []).append(point)

    @classmethod
    def until(cls, run: RunDir, step: int | None = None) -> "History":
        """Reads what a run logged: its `metrics.jsonl`, else an earlier `results.json`.

        Without these files, the history of a killed run begins at the resumed step.

        Args:
            run: run folder.
            step: step from which the run is resumed. Metrics that are computed again
                are left out. None keeps all metrics.
        """
        points = {}
        for name, point in [*_results(run), *_lines(run)]:
            points[name, point["step"]] = point
        in_order = sorted(points.items(), key=lambda item: item[1]["step"])
        history = cls()
        for (name, at), point in in_order:
            if step is None or stays(name, at, step):
                history.metrics.setdefault(name, []).append(point)
        return history


def _results(run: RunDir) -> Iterator[tuple[str, Point]]:
    """Yields each metric in `results.json`; nothing if the run has not ended before."""
    try:
        metrics = read_results(run).get("metrics", {})
    except ConfigError:
        return
    for name, points in metrics.items():
        for point in points:
            if isinstance(point.get("step"), int):
                yield name, point


def _lines(run: RunDir) -> Iterator[tuple[str, Point]]:
    """Yields each metric in `metrics.jsonl`."""
    for entry in read_lines(run.metrics):
        time = datetime.datetime.fromtimestamp(entry["time"], datetime.UTC)
        point = {
            "value": entry["value"],
            "step": entry["step"],
            "timestamp": _iso(time),
        }
        yield entry["name"], point


def stays(
    name: str,
    at: int,
    step: int,
) -> bool:
    """Whether a logged metric stays when the run is resumed.

    Args:
        name: name of the metric. Test metrics are always computed again.
        at: step at which it was logged.
        step: step from which the run is resumed.
    """
    return at <= step and not name.startswith("test/")


def to_line(entry: Mapping[str, Any]) -> str:
    """Formats a metric as a line of `metrics.jsonl`, with a checksum of its content."""
    return json.dumps({**entry, _CHECKSUM: _checksum(entry)}, allow_nan=False) + "\n"


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Reads the lines of `metrics.jsonl`, without their checksums.

    A damaged line is skipped with a warning. A last line without an end is ignored,
    because a killed run can leave one.

    Args:
        path: the file; if it does not exist, there are no lines.
    """
    if not path.is_file():
        return
    whole_lines = path.read_bytes().split(b"\n")[:-1]
    for number, line in enumerate(whole_lines, start=1):
        entry = _parse_line(line)
        if entry is None:
            log.warning("%s: line %d is damaged and is skipped", path, number)
        else:
            yield entry


def _parse_line(line: bytes) -> dict[str, Any] | None:
    """The content of a line; None if it is damaged."""
    try:
        entry: dict[str, Any] = parse_json(line)
        checksum = entry.pop(_CHECKSUM, None)
        # Earlier versions wrote no checksum.
        is_intact = checksum is None or checksum == _checksum(entry)
        is_valid = (
            isinstance(entry["step"], int)
            and isinstance(entry["name"], str)
            and isinstance(entry["value"], int | float)
            and 0 <= entry["time"] < _MAX_TIME
        )
    except (ValueError, TypeError, AttributeError, KeyError):
        return None
    return entry if is_intact and is_valid else None


def _checksum(entry: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(entry, sort_keys=True).encode())


def _iso(time: datetime.datetime) -> str:
    return time.isoformat(timespec="milliseconds")
