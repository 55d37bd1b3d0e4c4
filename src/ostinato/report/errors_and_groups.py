"""What single rows tell: the most confident errors, and the metrics of groups of rows. Draws and formats nothing."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.config import Task
from ostinato.data.splits import Split
from ostinato.scoring.bootstrap import Estimate, estimate
from ostinato.scoring.calibration import Calibration
from ostinato.scoring.metrics import probabilities

HEADLINES = {
    Task.single_label: ("accuracy", "macro_f1"),
    Task.multi_label: ("micro_f1", "subset_accuracy"),
    Task.regression: ("mae", "mse"),
}
"""The two metrics by which groups of rows are compared."""

_NUM_ERRORS = 20
_NUM_BANDS = 5  # of text length
_NUM_SLICES = 20


@dataclass(frozen=True)
class Mistake:
    """A row that the model gets wrong.

    Attributes:
        row: its number in the split, from 1.
        confidence: probability that the model gave to what is wrong; regression: distance from the label.
        predicted: what the model says.
        true: what the data say.
        texts: one text, or two.
    """

    row: int
    confidence: float
    predicted: str
    true: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Rows that have something in common, and the headline metrics on them."""

    name: str
    num_rows: int
    metrics: dict[str, Estimate]


def mistakes(
    task: Task,
    logits: NDArray[np.float32],
    labels: NDArray[Any],
    names: Sequence[str],
    split: Split,
    calibration: Calibration | None,
) -> list[Mistake]:
    """The most confident errors, most confident first, in calibrated probabilities where there are some."""
    values = probabilities(task, calibration.scaled(logits) if calibration else logits)
    if task is Task.regression:
        wrongness = np.abs(values[:, 0] - labels)
        predicted, true = (
            [f"{value:.4g}" for value in side] for side in (values[:, 0], labels)
        )
    elif task is Task.single_label:
        wrongness = np.where(values.argmax(axis=1) == labels, 0, values.max(axis=1))
        predicted, true = (
            [names[int(number)] for number in side]
            for side in (values.argmax(axis=1), labels)
        )
    else:
        cuts = np.asarray(
            calibration.thresholds if calibration and calibration.thresholds else 0.5
        )
        chosen = values > cuts
        wrongness = np.where(
            chosen == labels.astype(bool), 0, np.where(chosen, values, 1 - values)
        ).max(axis=1)
        predicted, true = (_sets(side, names) for side in (chosen, labels.astype(bool)))
    order = np.argsort(-wrongness, kind="stable")[:_NUM_ERRORS]
    return [
        Mistake(int(row) + 1, float(wrongness[row]), predicted[row], true[row], texts)
        for row, texts in zip(order, _texts(split, order), strict=True)
        if wrongness[row] > 0
    ]


def _sets(chosen: NDArray[np.bool_], names: Sequence[str]) -> list[str]:
    return [
        ", ".join(names[int(number)] for number in np.flatnonzero(row)) or "none"
        for row in chosen
    ]


def _texts(
    split: Split, rows: NDArray[np.int64] | slice = slice(None)
) -> Iterator[tuple[str, ...]]:
    columns = [
        name for name in ("text", "text_pair") if name in split.rows.column_names
    ]
    taken = split.rows.select_columns(columns)[rows]
    return zip(*(taken[column] for column in columns), strict=True)


def by_length(
    task: Task, logits: NDArray[np.float32], labels: NDArray[Any], split: Split
) -> list[Group]:
    """Metrics by length of the text in characters, in up to five groups of about equal size."""
    lengths = np.array([sum(map(len, texts)) for texts in _texts(split)])
    edges = np.unique(
        np.quantile(lengths, np.linspace(0, 1, _NUM_BANDS + 1), method="higher")
    )
    band = np.searchsorted(edges[1:-1], lengths, side="left")
    groups = []
    for number in np.unique(band):
        rows = band == number
        low, high = lengths[rows].min(), lengths[rows].max()
        name = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        groups.append(_group(f"{name} characters", rows, task, logits, labels))
    return groups


def by_slice(
    task: Task,
    logits: NDArray[np.float32],
    labels: NDArray[Any],
    values: Sequence[str | None],
) -> list[Group]:
    """Metrics by the value of a column, the most frequent first; rare values, and rows without one, together."""
    counts = Counter(value for value in values if value is not None)
    frequent = dict(counts.most_common(_NUM_SLICES))
    column = np.array(values, dtype=object)
    groups = [
        _group(value, column == value, task, logits, labels) for value in frequent
    ]
    unknown = np.array([value is None for value in values])
    others = ~unknown & np.array([value not in frequent for value in values])
    if others.any():
        groups.append(
            _group(
                f"{len(counts) - len(frequent)} other values",
                others,
                task,
                logits,
                labels,
            )
        )
    if unknown.any():
        groups.append(
            _group("not to be told (repeated texts)", unknown, task, logits, labels)
        )
    return groups


def _group(
    name: str,
    rows: NDArray[np.bool_],
    task: Task,
    logits: NDArray[np.float32],
    labels: NDArray[Any],
) -> Group:
    found = estimate(task, logits[rows], labels[rows])
    return Group(
        name, int(rows.sum()), {metric: found[metric] for metric in HEADLINES[task]}
    )
