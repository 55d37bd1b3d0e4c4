"""How much a task's metrics would move with other rows: percentile bootstrap intervals, the same on every call.

A metric that is a function of means over rows is recomputed from drawn means. Those that rank all rows (auroc, map,
spearman) are not, and get no interval. Draws from a generator of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from ostinato.config import Task
from ostinato.scoring.metrics import Floats, probabilities, row_losses
from ostinato.seeding import derive_seed

_NUM_BINS = 15  # of the calibration error, as in metrics
_DRAWS = (
    2 * 10**7
)  # row draws in all: 1,000 samples up to 20,000 rows, fewer beyond, never below 200
_CHUNK = 4 * 10**6  # row draws held in memory at once


@dataclass(frozen=True)
class Estimate:
    """A metric and its 95 % interval when the rows are drawn anew."""

    value: float
    low: float
    high: float


def estimate(
    task: Task,
    logits: NDArray[np.float32],
    labels: NDArray[Any],
    thresholds: ArrayLike = 0.5,
) -> dict[str, Estimate]:
    """Metrics of a split with their intervals.

    Single-label: loss, accuracy, macro_f1, micro_f1, weighted_f1, mcc, ece, brier. Multi-label: loss, micro_f1,
    macro_f1, subset_accuracy. Regression: loss, mse, mae, pearson. Definitions are those of `metrics.score`. The error
    of calibration is biased upwards in small samples, and more so in those drawn from them.

    Args:
        task: what a label is.
        logits: finite outputs [n, C], n > 0; regression [n] or [n, 1].
        labels: class ids [n] | 0 and 1 [n, C] | values [n].
        thresholds: probability above which a label is predicted, one for all or one each [C] (multi-label).
    """
    if task is Task.regression:
        contributions, metrics = _regression(logits, labels), _regression_metrics
    elif task is Task.single_label:
        contributions, metrics = (
            _single_label(logits, labels.astype(np.int64)),
            _single_label_metrics,
        )
    else:
        contributions, metrics = (
            _multi_label(logits, labels, thresholds),
            _multi_label_metrics,
        )
    exact = metrics(contributions.mean(axis=0)[None])
    drawn = metrics(np.concatenate(list(_drawn_means(contributions))))
    return {
        name: Estimate(
            float(value[0]), *map(float, np.nanquantile(drawn[name], [0.025, 0.975]))
        )
        for name, value in exact.items()
        if np.isfinite(value[0])
    }


def _drawn_means(contributions: sparse.csr_array) -> Iterator[Floats]:
    """Means [samples, k] of contributions [n, k] over n rows drawn with replacement."""
    n = contributions.shape[0]
    generator = np.random.Generator(np.random.PCG64(derive_seed(0, "bootstrap")))
    left, chunk = max(200, min(1000, _DRAWS // n)), max(1, _CHUNK // n)
    while left > 0:
        counts = generator.multinomial(n, np.full(n, 1 / n), size=min(chunk, left))
        yield np.asarray(contributions.T @ counts.T, dtype=np.float64).T / n
        left -= chunk


def _single_label(
    logits: NDArray[np.float32], labels: NDArray[np.int64]
) -> sparse.csr_array:
    """Columns: loss, brier, surplus of confidence in each bin, then hits, rows and predictions of each class."""
    size = logits.shape[1]
    values = probabilities(Task.single_label, logits)
    predicted = values.argmax(axis=1)
    confidence, correct = values.max(axis=1), predicted == labels
    losses = row_losses(Task.single_label, logits, labels)
    briers = np.square(values - np.eye(size)[labels]).sum(axis=1)
    bins = np.digitize(confidence, np.linspace(0, 1, _NUM_BINS + 1)[1:-1], right=True)
    return sparse.hstack(
        [
            sparse.csr_array(np.column_stack([losses, briers])),
            _one_hot(bins, _NUM_BINS, confidence - correct),
            _one_hot(predicted, size, correct.astype(np.float64)),
            _one_hot(labels, size),
            _one_hot(predicted, size),
        ],
        format="csr",
    )


def _one_hot(
    columns: NDArray[np.int64], size: int, values: Floats | None = None
) -> sparse.csr_array:
    n = len(columns)
    return sparse.csr_array(
        (np.ones(n) if values is None else values, (np.arange(n), columns)),
        shape=(n, size),
    )


def _single_label_metrics(means: Floats) -> dict[str, Floats]:
    surplus = means[:, 2 : 2 + _NUM_BINS]
    hits, true, predicted = np.split(means[:, 2 + _NUM_BINS :], 3, axis=1)
    f1 = _ratio(2 * hits, true + predicted, np.nan)
    accuracy = hits.sum(axis=1)
    spread = (1 - np.square(predicted).sum(axis=1)) * (1 - np.square(true).sum(axis=1))
    return {
        "loss": means[:, 0],
        "accuracy": accuracy,
        "macro_f1": np.nanmean(f1, axis=1),
        "micro_f1": accuracy,
        "weighted_f1": np.nansum(f1 * true, axis=1),
        "mcc": _ratio(
            accuracy - (predicted * true).sum(axis=1), np.sqrt(np.maximum(spread, 0)), 0
        ),
        "ece": np.abs(surplus).sum(axis=1),
        "brier": means[:, 1],
    }


def _multi_label(
    logits: NDArray[np.float32], labels: NDArray[Any], thresholds: ArrayLike
) -> sparse.csr_array:
    """Columns: loss, whether the whole set is right, then hits, rows and predictions of each label."""
    losses = row_losses(Task.multi_label, logits, labels)
    predicted = probabilities(Task.multi_label, logits) > np.asarray(thresholds)
    right = (predicted == labels.astype(bool)).all(axis=1)
    return sparse.csr_array(
        np.column_stack([losses, right, predicted * labels, labels, predicted]).astype(
            np.float64
        )
    )


def _multi_label_metrics(means: Floats) -> dict[str, Floats]:
    hits, true, predicted = np.split(means[:, 2:], 3, axis=1)
    return {
        "loss": means[:, 0],
        "micro_f1": _ratio(2 * hits.sum(axis=1), (true + predicted).sum(axis=1), 0),
        "macro_f1": _ratio(2 * hits, true + predicted, 0).mean(axis=1),
        "subset_accuracy": means[:, 1],
    }


def _regression(logits: NDArray[np.float32], labels: NDArray[Any]) -> sparse.csr_array:
    """Columns: squared and absolute error, and the moments of both sides."""
    predicted = probabilities(Task.regression, logits)[:, 0]
    error = predicted - labels
    x, y = (
        predicted - predicted.mean(),
        labels - labels.astype(np.float64).mean(),
    )  # else squares cancel
    return sparse.csr_array(
        np.column_stack([error**2, np.abs(error), x, y, x * x, y * y, x * y])
    )


def _regression_metrics(means: Floats) -> dict[str, Floats]:
    mse, mae, x, y, xx, yy, xy = means.T
    spread = np.sqrt(np.maximum((xx - x * x) * (yy - y * y), 0))
    return {
        "loss": mse,
        "mse": mse,
        "mae": mae,
        "pearson": _ratio(xy - x * y, spread, np.nan),
    }


def _ratio(numerator: Floats, denominator: Floats, undefined: float) -> Floats:
    return np.divide(
        numerator,
        denominator,
        out=np.full_like(numerator, undefined),
        where=denominator > 0,
    )
