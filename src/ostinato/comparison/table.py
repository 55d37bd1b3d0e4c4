"""Scores from elsewhere: a csv file with one score a row."""

import csv
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from ostinato.comparison.configurations import Point
from ostinato.config import CompareConfig
from ostinato.errors import ConfigError, DataError

_SAMPLE_COLUMNS = ("seed", "sample")


def read_table(cfg: CompareConfig) -> dict[str, list[Point]]:
    """Reads the points of each configuration, in the order of the file.

    An empty score is a run without one. A score no better than `majority` counts as collapsed.

    Raises:
        ConfigError: a column that is not there, or a pattern that fits no row.
        DataError: a score that is no number, or two of one configuration and sample.
    """
    table = Path(str(cfg.table))
    where = {
        column: pattern
        for column, _, pattern in (condition.partition(":") for condition in cfg.where)
    }
    try:
        with table.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(enumerate(reader, 2))
            columns = reader.fieldnames or []
    except (OSError, ValueError) as error:
        raise ConfigError([f"table={table}: not readable as csv ({error})"]) from None
    sample = cfg.sample_column or next(
        (c for c in _SAMPLE_COLUMNS if c in columns), "seed"
    )
    _check(
        columns,
        {
            "configuration_column": cfg.configuration_column,
            "sample_column": sample,
            "score_column": cfg.score_column,
            **{f"where.{column}": column for column in where},
        },
    )
    points: dict[str, list[Point]] = {}
    for number, row in rows:
        if all(
            fnmatchcase(row[column] or "", pattern) for column, pattern in where.items()
        ):
            score = _score(row[cfg.score_column], f"{table}, line {number}")
            point = _point(row[sample], score, cfg)
            points.setdefault(row[cfg.configuration_column], []).append(point)
    if not points:
        raise ConfigError(
            [
                f"where={cfg.where}: fits no row of {table}"
                if rows
                else f"table={table}: has no rows"
            ]
        )
    for name, runs in points.items():
        _check_samples(table, name, runs)
    return points


def _check(columns: Sequence[str], wanted: Mapping[str, str]) -> None:
    there = ", ".join(columns)
    missing = [
        f"{key}={column}: the table has no such column; there is {there}"
        for key, column in wanted.items()
        if column not in columns
    ]
    if missing:
        raise ConfigError(missing)


def _score(text: str | None, where: str) -> float | None:
    if not text or text.lower() in ("nan", "na", "none"):
        return None
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{where}: the score {text!r} is no number") from None


def _point(sample: str, score: float | None, cfg: CompareConfig) -> Point:
    if score is None:
        return Point(sample, sample, None, "failed", "no score in the table")
    limit, sign = cfg.majority, 1 if cfg.higher_is_better else -1
    return Point(
        sample,
        sample,
        score,
        collapsed=limit is not None and sign * score <= sign * limit,
    )


def _check_samples(table: Path, name: str, points: Sequence[Point]) -> None:
    twice = [
        sample
        for sample, count in Counter(p.sample for p in points).items()
        if count > 1
    ]
    if twice:
        raise DataError(
            f"{table}: {name} has several scores for {', '.join(twice[:3])}; take a part of the table with "
            "where='[column:pattern]', or another sample_column"
        )


def suspects(points: Mapping[str, Sequence[Point]]) -> Iterator[str]:
    """Names scores that lie ten times as far below or above the median as the middle half: collapsed, or mistyped."""
    for name, runs in points.items():
        scores = {p.sample: p.score for p in runs if p.score is not None}
        middle = statistics.median(scores.values()) if scores else 0.0
        spread = (
            statistics.median(abs(score - middle) for score in scores.values())
            if scores
            else 0.0
        )
        for sample, score in scores.items():
            if spread and abs(score - middle) > 10 * spread:
                far = f"{name}: {sample} is far from the others ({score:g}, median {middle:g})"
                yield f"{far}; majority=SCORE says whether it collapsed"
