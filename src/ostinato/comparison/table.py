"""Reads scores from elsewhere: a csv file with one score per row."""

import csv
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from ostinato.comparison.configurations import Point
from ostinato.config import CompareConfig
from ostinato.errors import ConfigError, DataError

Rows = list[tuple[int, dict[str, str]]]
"""Line number and row."""

_SAMPLE_COLUMNS = ("seed", "sample")
_NO_SCORE = ("", "nan", "na", "none")


def read_table(cfg: CompareConfig) -> dict[str, list[Point]]:
    """Reads the points of each configuration, in the order of the file.

    An empty score is a run without a score. A score that is no better than
    `cfg.majority` counts as collapsed.

    Raises:
        ConfigError: if a column does not exist, or a pattern matches no row.
        DataError: if a score is not a number, or a configuration has two scores for one
            sample.
    """
    table = Path(str(cfg.table))
    columns, rows = _read_csv(table)
    sample_column = cfg.sample_column or _sample_column(columns)
    patterns = _patterns(cfg.where)
    _check_columns(columns, cfg, sample_column, patterns)
    points: dict[str, list[Point]] = {}
    for number, row in rows:
        if not _matches(row, patterns):
            continue
        where = f"{table}, line {number}"
        score = _parse_score(row[cfg.score_column], where)
        point = _point(row[sample_column], score, cfg)
        configuration = row[cfg.configuration_column]
        points.setdefault(configuration, []).append(point)
    if not points:
        problem = f"table={table}: has no rows"
        if rows:
            problem = f"where={cfg.where}: matches no row of {table}"
        raise ConfigError([problem])
    for name, members in points.items():
        _check_samples(table, name, members)
    return points


def _read_csv(table: Path) -> tuple[Sequence[str], Rows]:
    """Reads the column names and the rows; the first row is on line 2."""
    try:
        with table.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(enumerate(reader, start=2))
            columns = reader.fieldnames or []
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError([f"table={table}: not readable as csv ({error})"]) from None
    return columns, rows


def _sample_column(columns: Sequence[str]) -> str:
    for name in _SAMPLE_COLUMNS:
        if name in columns:
            return name
    return _SAMPLE_COLUMNS[0]


def _patterns(where: Sequence[str]) -> dict[str, str]:
    """Splits conditions like `dataset:ag_news` into columns and patterns."""
    patterns = {}
    for condition in where:
        column, _, pattern = condition.partition(":")
        patterns[column] = pattern
    return patterns


def _check_columns(
    columns: Sequence[str],
    cfg: CompareConfig,
    sample_column: str,
    patterns: Mapping[str, str],
) -> None:
    wanted = {
        "configuration_column": cfg.configuration_column,
        "sample_column": sample_column,
        "score_column": cfg.score_column,
    }
    for column in patterns:
        wanted[f"where.{column}"] = column
    problems = []
    for key, column in wanted.items():
        if column not in columns:
            available = ", ".join(columns)
            problems.append(
                f"{key}={column}: the table does not have this column; use one of: "
                f"{available}"
            )
    if problems:
        raise ConfigError(problems)


def _matches(row: Mapping[str, str | None], patterns: Mapping[str, str]) -> bool:
    for column, pattern in patterns.items():
        value = row[column] or ""
        if not fnmatchcase(value, pattern):
            return False
    return True


def _parse_score(text: str | None, where: str) -> float | None:
    if text is None or text.lower() in _NO_SCORE:
        return None
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{where}: the score {text!r} is not a number") from None


def _point(
    sample: str,
    score: float | None,
    cfg: CompareConfig,
) -> Point:
    if score is None:
        return Point(
            sample,
            sample,
            None,
            "failed",
            "no score in the table",
        )
    return Point(
        sample,
        sample,
        score,
        collapsed=_is_collapsed(score, cfg),
    )


def _is_collapsed(score: float, cfg: CompareConfig) -> bool:
    if cfg.majority is None:
        return False
    if cfg.higher_is_better:
        return score <= cfg.majority
    return score >= cfg.majority


def _check_samples(
    table: Path,
    name: str,
    points: Sequence[Point],
) -> None:
    """Refuses several scores for one sample."""
    counts = Counter(point.sample for point in points)
    repeated = [sample for sample, count in counts.items() if count > 1]
    if repeated:
        examples = ", ".join(repeated[:3])
        raise DataError(
            f"{table}: {name} has several scores for {examples}; select a part of the "
            "table with where='[column:pattern]', or give another sample_column"
        )


def suspects(points: Mapping[str, Sequence[Point]]) -> Iterator[str]:
    """Names scores that are far from the others: collapsed runs, or typing errors.

    Far is more than ten times the median distance from the median.
    """
    for name, members in points.items():
        scores = {p.sample: p.score for p in members if p.score is not None}
        if not scores:
            continue
        median = statistics.median(scores.values())
        distances = {sample: abs(score - median) for sample, score in scores.items()}
        typical = statistics.median(distances.values())
        if typical == 0:
            continue
        for sample, score in scores.items():
            if distances[sample] > 10 * typical:
                values = f"{score:g}, median {median:g}"
                yield (
                    f"{name}: {sample} is far from the others ({values}); "
                    "set majority=SCORE to mark collapsed runs"
                )
