"""Percentile bootstrap intervals: how much metrics vary with other rows.

Metrics that are functions of means over rows are recomputed from resampled means.
Metrics that rank all rows (auroc, map, spearman) are not, so they have no interval. The
resampling has its own fixed seed, so the result is the same on every call.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from ostinato.config import Task
from ostinato.scoring.arrays import Distributions, Floats, Labels, Logits
from ostinato.scoring.row_means import (
    multi_label_metrics,
    multi_label_rows,
    regression_metrics,
    regression_rows,
    single_label_metrics,
    single_label_rows,
)
from ostinato.seeding import derive_seed

_QUANTILES = (0.025, 0.975)
_MAX_SAMPLES = 1000
_MIN_SAMPLES = 200
# Total number of resampled rows. It limits the samples for more than 20,000 rows.
_DRAWS = 2 * 10**7
# Number of resampled rows that are in memory at once.
_CHUNK = 4 * 10**6


@dataclass(frozen=True)
class Estimate:
    """A metric and its 95 % interval over resampled rows."""

    value: float
    low: float
    high: float


def estimate(
    task: Task,
    logits: Logits,
    labels: Labels,
    thresholds: ArrayLike = 0.5,
    distributions: Distributions | None = None,
) -> dict[str, Estimate]:
    """Computes the metrics of a split and their intervals.

    Single-label: loss, accuracy, macro_f1, micro_f1, weighted_f1, mcc, ece, brier, and
    kl with distributions.
    Multi-label: loss, micro_f1, macro_f1, subset_accuracy. Regression: loss, mse, mae,
    pearson. The definitions are those of `scores.score`. The expected calibration error
    is biased upwards on small samples, and even more on resampled rows.

    Args:
        task: what a label is.
        logits: finite outputs [n, C], n > 0; regression [n] or [n, 1].
        labels: class ids [n], 0 and 1 [n, C], or values [n].
        thresholds: probability above which a label is predicted; one number, or one
            for each label [C] (multi-label).
        distributions: probabilities of the classes in the data [n, C] (single-label).

    Returns:
        Metric name to estimate. A metric that the rows do not define is omitted.
    """
    if task is Task.regression:
        rows = regression_rows(logits, labels)
        compute_metrics = regression_metrics
    elif task is Task.single_label:
        rows = single_label_rows(logits, labels.astype(np.int64), distributions)
        compute_metrics = single_label_metrics
    else:
        rows = multi_label_rows(logits, labels, thresholds)
        compute_metrics = multi_label_metrics
    mean = rows.mean(axis=0)
    metrics = compute_metrics(mean[None])
    resampled_means = np.concatenate(list(_resampled_means(rows)))
    resampled_metrics = compute_metrics(resampled_means)
    estimates = {}
    for name, values in metrics.items():
        value = float(values[0])
        if not np.isfinite(value) or (name == "kl" and distributions is None):
            continue
        low, high = np.nanquantile(resampled_metrics[name], _QUANTILES)
        estimates[name] = Estimate(value, float(low), float(high))
    return estimates


def _resampled_means(rows: sparse.csr_array) -> Iterator[Floats]:
    """Yields means [samples, k] of n rows resampled from rows [n, k]."""
    n = rows.shape[0]
    seed = derive_seed(0, "bootstrap")
    generator = np.random.Generator(np.random.PCG64(seed))
    remaining = max(_MIN_SAMPLES, min(_MAX_SAMPLES, _DRAWS // n))
    chunk = max(1, _CHUNK // n)
    equal = np.full(n, 1 / n)
    while remaining > 0:
        size = min(chunk, remaining)
        counts = generator.multinomial(n, equal, size=size)
        sums = rows.T @ counts.T
        dense_sums = np.asarray(sums, dtype=np.float64)
        yield dense_sums.T / n
        remaining -= chunk
