"""Multi-label thresholds: above which probability each label is predicted."""

import numpy as np

from ostinato.scoring.arrays import Booleans, Floats, Integers, Labels

# Two probabilities can change their order with another batch size if their logits
# differ by less than about this.
_SAME = 1e-5


def tune_thresholds(values: Floats, labels: Labels) -> tuple[float, ...]:
    """Finds the threshold with the best F1 for each label.

    A threshold is half-way between two probabilities. Among thresholds with the same
    F1, the one nearest to 0.5 is chosen. Probabilities that rounding can swap count as
    equal. A label that no row has, or every row has, keeps 0.5.

    A worked example: four rows have the probabilities 0.2, 0.4, 0.6 and 0.8 for a
    label. The second and the fourth row have the label.

    ========= ============== ==== =============================
    threshold rows predicted hits F1 = 2 hits / (predicted + 2)
    ========= ============== ==== =============================
    0.1       4              2    4 / 6 = 0.67
    0.3       3              2    4 / 5 = 0.80
    0.5       2              1    2 / 4 = 0.50
    0.7       1              1    2 / 3 = 0.67
    ========= ============== ==== =============================

    The threshold of this label is 0.3.

    Args:
        values: probabilities [n, C].
        labels: 0 and 1 [n, C].

    Returns:
        One threshold per label [C].
    """
    thresholds = []
    for column in range(values.shape[1]):
        truth = labels[:, column] > 0
        threshold = _best_threshold(values[:, column], truth)
        thresholds.append(threshold)
    return tuple(thresholds)


def _best_threshold(values: Floats, truth: Booleans) -> float:
    """Finds the threshold of one label from its probabilities [n] and labels [n]."""
    is_constant = truth.all() or not truth.any()
    if is_constant:
        return 0.5
    order = np.argsort(values)
    values = values[order]
    truth = truth[order]
    starts = _level_starts(values)
    candidates = _candidates(values, starts)
    f1 = _f1_of_levels(truth, starts)
    # If the smallest probability is 0, no threshold is below it.
    is_below = candidates < values[starts]
    f1 = np.where(is_below, f1, 0)
    # Equal values of F1 are exactly equal, because they are quotients of integers.
    best = np.flatnonzero(f1 == f1.max())
    distances = np.abs(candidates[best] - 0.5)
    nearest = best[np.argmin(distances)]
    return float(candidates[nearest])


def _level_starts(values: Floats) -> Integers:
    """Returns the first position of each level of sorted probabilities.

    A level is a run of probabilities that count as equal. For example, 0.2, 0.2, 0.6
    has the starts [0, 2].
    """
    gaps = np.diff(values)
    lower = values[:-1]
    upper = values[1:]
    tolerances = _SAME * np.minimum(upper, 1 - lower)
    changes = np.flatnonzero(gaps > tolerances)
    return np.concatenate([[0], changes + 1])


def _candidates(values: Floats, starts: Integers) -> Floats:
    """Returns a threshold below each level, half-way to the next lower level (or 0)."""
    first = values[0] / 2
    later_starts = starts[1:]
    below = values[later_starts - 1]
    above = values[later_starts]
    middles = (below + above) / 2
    return np.concatenate([[first], middles])


def _f1_of_levels(truth: Booleans, starts: Integers) -> Floats:
    """Returns the F1 if all rows from the start of a level upwards are predicted."""
    num_predicted = len(truth) - starts
    num_true = truth.sum()
    falling_truth = truth[::-1]
    hits_from_top = np.cumsum(falling_truth)
    hits_from = hits_from_top[::-1]
    hits = hits_from[starts]
    f1: Floats = 2 * hits / (num_predicted + num_true)
    return f1
