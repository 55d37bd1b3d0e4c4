"""Temperature scaling: a number that divides the logits, fitted on validation rows.

Guo et al. 2017, On Calibration of Modern Neural Networks.
"""

from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq

from ostinato.config import Task
from ostinato.scoring.arrays import Distributions, Floats, Labels, Logits
from ostinato.scoring.metrics import expected_scores, probabilities

MIN_ERRORS = 10
"""Number of errors on the validation rows that a temperature below 1 requires."""

_STEPS = 60  # 8**60 is more than the range of fp32


def fit_temperature(
    task: Task,
    logits: Logits,
    labels: Labels,
    distributions: Distributions | None = None,
) -> float:
    """Finds the temperature T with the smallest mean negative log-likelihood.

    The loss is convex in 1/T, so its slope has at most one zero. The result is 1 if
    the rows do not determine T:

    - Without an error, the loss decreases as T decreases, without end.
    - If the wrong logits are on average as high as the true ones, the loss decreases
      as T increases, without end.
    - A temperature below 1 makes every probability more extreme, and only the errors
      oppose it. It therefore requires at least `MIN_ERRORS` errors.

    A worked example: four rows of a single-label task have the logits [2, 0]. Three
    have the label 0, and one has the label 1. The logits of the wrong class exceed
    those of the true class by -2, -2, -2 and 2 (the margins). One margin is positive,
    so there is one error. The sum of the margins is -4, so the wrong logits are lower
    on average. The loss is smallest where the model's probability of class 0 equals
    its share: sigmoid(2 / T) = 3/4, so 2 / T = log(3) and T = 1.82. T is above 1, so
    one error is enough.

    Args:
        task: single_label or multi_label.
        logits: logits of the validation rows [n, C].
        labels: class ids [n], or 0 and 1 [n, C].
        distributions: probabilities of the classes [n, C], in place of class ids. A row
            is an error if a logit exceeds their mean by this distribution.
    """
    margins = _margins(task, logits, labels, distributions)
    num_errors = _count_errors(task, margins)
    if num_errors == 0:
        return 1.0
    if margins.sum() >= 0:
        return 1.0
    temperature = _minimise(task, margins)
    if temperature is None:
        return 1.0
    if temperature <= 1 and num_errors < MIN_ERRORS:
        return 1.0
    return temperature


def _margins(
    task: Task,
    logits: Logits,
    labels: Labels,
    distributions: Distributions | None,
) -> Floats:
    """Returns how strongly each logit supports a wrong answer [n, C].

    Single-label: the logit of each class minus the logit of the true class. The true
    class itself has the margin 0. For example, the logits [1, 3, 0] with the label 0
    give [0, 2, -1]. Class 1 has a positive margin: the row is an error. With a
    distribution, its mean logit takes the place of that of the true class.

    Multi-label: the logit if the label is 0, and minus the logit if it is 1. For
    example, the logits [1, 3, 0] with the labels [0, 1, 1] give [1, -3, 0]. The first
    label has a positive margin: it is an error.
    """
    scores: Floats = logits.astype(np.float64)
    if task is Task.single_label:
        true_scores = expected_scores(scores, labels, distributions)
        return scores - true_scores[:, None]
    is_positive = labels > 0
    return np.where(is_positive, -scores, scores)


def _count_errors(task: Task, margins: Floats) -> int:
    """Counts the rows (single-label) or labels (multi-label) that are wrong."""
    if task is Task.single_label:
        margins = margins.max(axis=1)
    return int(np.count_nonzero(margins > 0))


def _minimise(task: Task, margins: Floats) -> float | None:
    """Returns the temperature where the slope of the loss is 0; None without one."""
    largest = np.abs(margins).max()
    units = margins / largest

    def slope(log_inverse: float) -> float:
        """Returns the slope of the loss at log(1/T), times a positive factor."""
        scaled = margins * np.exp(log_inverse)
        weights = probabilities(task, scaled)
        return float((units * weights).sum())

    # Points on both sides of 1/T = 1 / largest, each 8 times as far as the one before.
    start = -np.log(largest)
    steps = np.log(8) * np.arange(_STEPS)
    low = _first_with_sign(-1, slope, start - steps)
    high = _first_with_sign(1, slope, start + steps)
    if low is None or high is None:
        # The wrong logits are as high as the true ones, except for rounding.
        return None
    log_inverse = brentq(slope, low, high, xtol=1e-12)
    return float(np.exp(-log_inverse))


def _first_with_sign(
    sign: int,
    slope: Callable[[float], float],
    points: Floats,
) -> float | None:
    for point in points:
        if sign * slope(point) > 0:
            return float(point)
    return None
