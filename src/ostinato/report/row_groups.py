"""Computes the headline metrics of groups of rows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.config import Task
from ostinato.data.splits import Split
from ostinato.report.row_texts import row_texts
from ostinato.scoring.bootstrap import Estimate, estimate

HEADLINES = {
    Task.single_label: ("accuracy", "macro_f1"),
    Task.multi_label: ("micro_f1", "subset_accuracy"),
    Task.regression: ("mae", "mse"),
}
"""The two metrics by which groups of rows are compared."""

_NUM_LENGTH_GROUPS = 5
_MAX_SLICES = 20


@dataclass(frozen=True)
class Group:
    """Rows with something in common, and the headline metrics of these rows."""

    name: str
    num_rows: int
    metrics: dict[str, Estimate]


def group_by_length(
    task: Task,
    logits: NDArray[np.float32],
    labels: NDArray[Any],
    split: Split,
) -> list[Group]:
    """Groups rows by text length in characters: up to five groups of about equal size.

    Args:
        task: what a label is.
        logits: outputs of the model [n, C].
        labels: class ids [n] | 0 and 1 [n, C] | values [n].
        split: the rows, in the order of `logits`.
    """
    lengths = np.array([sum(map(len, texts)) for texts in row_texts(split)])
    shares = np.linspace(0, 1, _NUM_LENGTH_GROUPS + 1)
    edges = np.unique(np.quantile(lengths, shares, method="higher"))
    numbers = np.searchsorted(edges[1:-1], lengths, side="left")
    groups = []
    for number in np.unique(numbers):
        rows = numbers == number
        low = lengths[rows].min()
        high = lengths[rows].max()
        name = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        groups.append(_group(f"{name} characters", rows, task, logits, labels))
    return groups


def group_by_windows(
    task: Task,
    logits: NDArray[np.float32],
    labels: NDArray[Any],
    windows: NDArray[np.int32],
) -> list[Group]:
    """Groups rows by their number of windows: 1, 2, 3 to 4, 5 to 8, and so on.

    Args:
        task: what a label is.
        logits: outputs of the model [n, C].
        labels: class ids [n] | 0 and 1 [n, C] | values [n].
        windows: windows of each row [n].
    """
    groups = []
    exponents = np.ceil(np.log2(windows))
    for exponent in np.unique(exponents):
        rows = exponents == exponent
        low, high = windows[rows].min(), windows[rows].max()
        name = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        groups.append(_group(name, rows, task, logits, labels))
    return groups


def group_by_value(
    task: Task,
    logits: NDArray[np.float32],
    labels: NDArray[Any],
    values: Sequence[str | None],
) -> list[Group]:
    """Groups rows by the value of a column, most frequent value first.

    Rare values form one group. Rows with an unknown value form another.

    Args:
        task: what a label is.
        logits: outputs of the model [n, C].
        labels: class ids [n] | 0 and 1 [n, C] | values [n].
        values: value of each row [n]; None where it is unknown.
    """
    counts = Counter(value for value in values if value is not None)
    frequent = [value for value, _ in counts.most_common(_MAX_SLICES)]
    column = np.array(values, dtype=object)
    groups = [
        _group(value, column == value, task, logits, labels) for value in frequent
    ]
    unknown = np.array([value is None for value in values])
    rare = np.array([value not in frequent for value in values]) & ~unknown
    if rare.any():
        name = f"{len(counts) - len(frequent)} other values"
        groups.append(_group(name, rare, task, logits, labels))
    if unknown.any():
        name = "unknown (repeated texts)"
        groups.append(_group(name, unknown, task, logits, labels))
    return groups


def _group(
    name: str,
    rows: NDArray[np.bool_],
    task: Task,
    logits: NDArray[np.float32],
    labels: NDArray[Any],
) -> Group:
    estimates = estimate(task, logits[rows], labels[rows])
    headlines = {metric: estimates[metric] for metric in HEADLINES[task]}
    return Group(name, int(rows.sum()), headlines)
