"""Metrics as functions of means over rows.

Each row contributes one vector of numbers. The metrics of any sample of rows follow
from the mean of its vectors, so the bootstrap only resamples means.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from ostinato.config import Task
from ostinato.scoring.arrays import Distributions, Floats, Integers, Labels, Logits
from ostinato.scoring.calibration_error import NUM_BINS, confidence_bins
from ostinato.scoring.metrics import (
    divergences,
    normalised,
    probabilities,
    row_losses,
)


def single_label_rows(
    logits: Logits, labels: Integers, distributions: Distributions | None = None
) -> sparse.csr_array:
    """Computes what each row contributes to the single-label metrics.

    The columns are: loss, Brier score, KL divergence, confidence minus correctness in
    each of the `NUM_BINS` bins of confidence; then for each of the C classes whether
    the row is a hit, has the class, and is predicted as the class.

    Args:
        logits: finite outputs [n, C].
        labels: class ids [n].
        distributions: probabilities of the classes in the data [n, C]; None takes the
            class ids, and leaves the divergence 0.

    Returns:
        Contributions [n, 3 + NUM_BINS + 3 C].
    """
    num_classes = logits.shape[1]
    values = probabilities(Task.single_label, logits)
    predicted = values.argmax(axis=1)
    confidence = values.max(axis=1)
    correct = predicted == labels
    losses = row_losses(Task.single_label, logits, labels, distributions)
    true = np.eye(num_classes)[labels]
    kls = np.zeros(len(labels))
    if distributions is not None:
        true = normalised(distributions)
        kls = divergences(logits, distributions)
    briers = _sum_of_squares(values - true)
    bins = confidence_bins(confidence)
    ones = np.ones(len(labels))
    columns = [
        sparse.csr_array(np.column_stack([losses, briers, kls])),
        _one_hot(bins, NUM_BINS, confidence - correct),
        _one_hot(predicted, num_classes, correct.astype(np.float64)),
        _one_hot(labels, num_classes, ones),
        _one_hot(predicted, num_classes, ones),
    ]
    return sparse.hstack(columns, format="csr")


def _one_hot(
    columns: Integers,
    num_columns: int,
    values: Floats,
) -> sparse.csr_array:
    """Returns [n, num_columns] with one value per row, in the given column."""
    n = len(columns)
    positions = (np.arange(n), columns)
    return sparse.csr_array((values, positions), shape=(n, num_columns))


def single_label_metrics(means: Floats) -> dict[str, Floats]:
    """Computes single-label metrics from means [samples, k] of `single_label_rows`."""
    class_start = 3 + NUM_BINS
    surplus = means[:, 3:class_start]
    class_means = means[:, class_start:]
    hits, true, predicted = np.split(class_means, 3, axis=1)
    f1 = _ratio(2 * hits, true + predicted, np.nan)
    accuracy = hits.sum(axis=1)
    predicted_spread = 1 - _sum_of_squares(predicted)
    true_spread = 1 - _sum_of_squares(true)
    spread = _root(predicted_spread * true_spread)
    chance = (predicted * true).sum(axis=1)
    covariance = accuracy - chance
    return {
        "loss": means[:, 0],
        "accuracy": accuracy,
        "macro_f1": np.nanmean(f1, axis=1),
        "micro_f1": accuracy,
        "weighted_f1": np.nansum(f1 * true, axis=1),
        "mcc": _ratio(covariance, spread, 0),
        "ece": np.abs(surplus).sum(axis=1),
        "brier": means[:, 1],
        "kl": means[:, 2],
    }


def multi_label_rows(
    logits: Logits,
    labels: Labels,
    thresholds: ArrayLike,
) -> sparse.csr_array:
    """Computes what each row contributes to the multi-label metrics.

    The columns are: loss, whether the whole set of labels is correct; then for each of
    the C labels whether the row is a hit, has the label, and is predicted to have it.

    Args:
        logits: finite outputs [n, C].
        labels: 0 and 1 [n, C].
        thresholds: probability above which a label is predicted; one number, or [C].

    Returns:
        Contributions [n, 2 + 3 C].
    """
    losses = row_losses(Task.multi_label, logits, labels)
    values = probabilities(Task.multi_label, logits)
    predicted = values > np.asarray(thresholds)
    correct = predicted == labels.astype(bool)
    all_correct = correct.all(axis=1)
    hits = predicted * labels
    columns = np.column_stack([losses, all_correct, hits, labels, predicted])
    return sparse.csr_array(columns.astype(np.float64))


def multi_label_metrics(means: Floats) -> dict[str, Floats]:
    """Computes multi-label metrics from means [samples, k] of `multi_label_rows`."""
    label_means = means[:, 2:]
    hits, true, predicted = np.split(label_means, 3, axis=1)
    total_hits = hits.sum(axis=1)
    total = (true + predicted).sum(axis=1)
    f1 = _ratio(2 * hits, true + predicted, 0)
    return {
        "loss": means[:, 0],
        "micro_f1": _ratio(2 * total_hits, total, 0),
        "macro_f1": f1.mean(axis=1),
        "subset_accuracy": means[:, 1],
    }


def regression_rows(logits: Logits, labels: Labels) -> sparse.csr_array:
    """Computes what each row contributes to the regression metrics.

    The columns are: squared error, absolute error, and the first and second moments of
    predictions x and labels y: x, y, x², y², xy.

    Args:
        logits: predicted values [n] or [n, 1].
        labels: values [n].

    Returns:
        Contributions [n, 7].
    """
    predicted = probabilities(Task.regression, logits)[:, 0]
    error = predicted - labels
    # Both sides are centred, because large squares would cancel.
    x = predicted - predicted.mean()
    label_mean = labels.astype(np.float64).mean()
    y = labels - label_mean
    columns = [
        error**2,
        np.abs(error),
        x,
        y,
        x * x,
        y * y,
        x * y,
    ]
    return sparse.csr_array(np.column_stack(columns))


def regression_metrics(means: Floats) -> dict[str, Floats]:
    """Computes regression metrics from means [samples, 7] of `regression_rows`."""
    mse, mae, x, y, xx, yy, xy = means.T
    x_variance = xx - x * x
    y_variance = yy - y * y
    covariance = xy - x * y
    spread = _root(x_variance * y_variance)
    return {
        "loss": mse,
        "mse": mse,
        "mae": mae,
        "pearson": _ratio(covariance, spread, np.nan),
    }


def _sum_of_squares(values: Floats) -> Floats:
    """Sums over the columns of values [n, k]."""
    squares = np.square(values)
    sums: Floats = squares.sum(axis=1)
    return sums


def _root(values: Floats) -> Floats:
    """Returns square roots; values that rounding made negative count as 0."""
    roots: Floats = np.sqrt(np.maximum(values, 0))
    return roots


def _ratio(
    numerator: Floats,
    denominator: Floats,
    undefined: float,
) -> Floats:
    """Divides; the result is `undefined` where the denominator is not positive."""
    result = np.full_like(numerator, undefined)
    return np.divide(
        numerator,
        denominator,
        out=result,
        where=denominator > 0,
    )
