"""Every logged figure of a run in memory, for `results.json`. No tracker: it cannot fail and is always there."""

import datetime
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from ostinato.errors import ConfigError
from ostinato.records import Results
from ostinato.run_dir import RunDir, read_json

Point = dict[str, Any]
"""{"value": float, "step": int, "timestamp": ISO 8601 in UTC}."""


class History:
    """What was logged, by name, in the order of logging.

    Attributes:
        metrics: the points of each figure.
    """

    def __init__(self, metrics: dict[str, list[Point]] | None = None) -> None:
        self.metrics = metrics or {}

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Keeps figures; what is no number has no place in JSON."""
        now = _iso(datetime.datetime.now(datetime.UTC))
        for name, value in values.items():
            if math.isfinite(value):
                self.metrics.setdefault(name, []).append({"value": value, "step": step, "timestamp": now})

    @classmethod
    def until(cls, run: RunDir, step: int) -> "History":
        """What a run folder tells of the steps up to `step`: its `metrics.jsonl`, else an earlier `results.json`.

        A run that was killed outright and has no `metrics.jsonl` begins anew at the step that it goes on from.
        """
        points = {(name, point["step"]): point for name, point in [*_results(run), *_lines(run)]}
        history = cls()
        for (name, at), point in sorted(points.items(), key=lambda entry: entry[0][1]):
            if at <= step:
                history.metrics.setdefault(name, []).append(point)
        return history


def _results(run: RunDir) -> Iterator[tuple[str, Point]]:
    try:
        metrics = read_json(run.results, Results).get("metrics", {})
    except ConfigError:
        return  # the run has not ended before
    for name, points in metrics.items():
        yield from ((name, point) for point in points if isinstance(point.get("step"), int))


def _lines(run: RunDir) -> Iterator[tuple[str, Point]]:
    for line in run.metrics.read_text(encoding="utf-8").splitlines() if run.metrics.is_file() else []:
        try:
            entry = json.loads(line)
            time = datetime.datetime.fromtimestamp(entry["time"], datetime.UTC)
            yield entry["name"], {"value": entry["value"], "step": entry["step"], "timestamp": _iso(time)}
        except (ValueError, KeyError, TypeError):
            continue  # cut off when the run was killed


def _iso(time: datetime.datetime) -> str:
    return time.isoformat(timespec="milliseconds")
