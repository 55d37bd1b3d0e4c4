"""Formats what a run found about single rows and groups of rows."""

import dataclasses
from collections.abc import Iterable

from ostinato.config import Task
from ostinato.errors import UserError
from ostinato.report.row_groups import (
    HEADLINES,
    Group,
    group_by_length,
    group_by_value,
    group_by_windows,
)
from ostinato.report.run_metrics import RunMetrics
from ostinato.report.slices import slice_values
from ostinato.report.table import Table
from ostinato.report.text import interval, number, plain, shortened, title
from ostinato.report.wrong_predictions import WrongPrediction, find_wrong_predictions


def wrong_predictions(metrics: RunMetrics) -> list[WrongPrediction]:
    """The most confident wrong predictions, with texts that are safe to show."""
    contents = metrics.contents
    split = contents.splits.get(metrics.main_split)
    if split is None or contents.main_split is None:
        return []
    logits, labels = metrics.main_predictions
    found = find_wrong_predictions(
        contents.task,
        logits,
        labels,
        metrics.labels,
        split,
        contents.calibration,
    )
    shown = []
    for wrong in found:
        texts = tuple(shortened(plain(text)) for text in wrong.texts)
        shown.append(dataclasses.replace(wrong, texts=texts))
    return shown


def format_confidence(metrics: RunMetrics, wrong: WrongPrediction) -> str:
    """How confident the model was; for regression, the size of the error."""
    if metrics.contents.task is Task.regression:
        return f"error {number(wrong.confidence)}"
    return f"probability {wrong.confidence:.4f}"


def length_table(metrics: RunMetrics) -> Table:
    """Metrics by text length; no rows if the texts cannot be read."""
    contents = metrics.contents
    split = contents.splits.get(metrics.main_split)
    groups: list[Group] = []
    if split is not None and contents.main_split is not None:
        groups = group_by_length(contents.task, *metrics.main_predictions, split)
    return _group_table("length", groups, contents.task)


def window_table(metrics: RunMetrics) -> Table:
    """Metrics by the number of windows of a row; no rows without windows."""
    contents = metrics.contents
    groups: list[Group] = []
    windows = contents.windows.get(metrics.main_split)
    if windows is not None:
        groups = group_by_windows(contents.task, *metrics.main_predictions, windows)
    return _group_table("windows per row", groups, contents.task)


def slice_tables(metrics: RunMetrics, columns: Iterable[str]) -> dict[str, Table]:
    """Metrics by the value of each column.

    A column that cannot be read gets a line in the notes of the run contents.

    Args:
        metrics: metrics of the run.
        columns: columns of the data.
    """
    contents = metrics.contents
    split = contents.splits.get(metrics.main_split)
    if split is None or contents.main_split is None:
        return {}
    tables = {}
    for column in columns:
        try:
            values = slice_values(contents.config.data, split, column)
        except UserError as error:
            contents.notes.append(str(error))
            continue
        groups = group_by_value(contents.task, *metrics.main_predictions, values)
        name = plain(column)
        tables[name] = _group_table(name, groups, contents.task)
    return tables


def _group_table(
    first_column: str,
    groups: Iterable[Group],
    task: Task,
) -> Table:
    columns = [first_column, "rows"]
    for name in HEADLINES[task]:
        columns += [title(name), "95 % interval"]
    rows = []
    for group in groups:
        row = [plain(group.name), f"{group.num_rows:,}"]
        for estimate in group.metrics.values():
            row += [number(estimate.value), interval(estimate)]
        rows.append(row)
    return Table(columns, rows)
