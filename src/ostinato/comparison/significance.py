"""Tests whether the difference between two configurations is real.

Functions that a simulation repeats take arrays [..., n] and work along the last axis.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from ostinato.comparison.statistics import ALPHA, Interval, interval_of_mean
from ostinato.scoring.arrays import Booleans, Floats

# Up to 14 pairs, all sign flips are enumerated. For more pairs, this many are drawn,
# with a fixed seed.
_MAX_FLIPS = 2**14

# Bounds the memory of a simulation.
_BATCH = 2**22


class Verdict(str, Enum):
    """The conclusion about a configuration, compared with the baseline."""

    better = "better"
    worse = "worse"
    unclear = "no clear difference"
    too_few = "too few seeds"


@dataclass(frozen=True)
class PairedDifference:
    """Differences, first minus second, over the seeds that two configurations share.

    Attributes:
        n: number of pairs.
        mean: mean difference.
        interval: its 95 % t-interval; None for a single pair.
        p: two-sided p-value of the sign-flip test, exact up to 14 pairs.
        smallest_p: smallest p-value that n pairs can reach: 2 / 2^n.
        wins: number of pairs in which the first is better.
        ties: number of pairs in which both are equal.
    """

    n: int
    mean: float
    interval: Interval | None
    p: float
    smallest_p: float
    wins: int
    ties: int


def paired_difference(
    first: Sequence[float],
    second: Sequence[float],
    higher_is_better: bool = True,
) -> PairedDifference:
    """Compares two configurations over the same seeds.

    Args:
        first: scores of the first configuration, at least one.
        second: scores of the second one, for the same seeds in the same order.
        higher_is_better: whether a higher score is the better one.
    """
    differences = np.subtract(first, second, dtype=np.float64)
    n = len(differences)
    gains = differences if higher_is_better else -differences
    return PairedDifference(
        n=n,
        mean=float(differences.mean()),
        interval=interval_of_mean(differences),
        p=float(sign_flip_p(differences)),
        smallest_p=smallest_p(n),
        wins=int((gains > 0).sum()),
        ties=int((gains == 0).sum()),
    )


def sign_flip_p(differences: ArrayLike) -> Floats:
    """Computes the two-sided p-value of the mean under random flips of the signs.

    It is exact over all 2^n flips up to n = 14. For more, it uses 16,384 random flips
    with a fixed seed.

    Args:
        differences: numbers [..., n].

    Returns:
        p-values [...].
    """
    data = np.asarray(differences, dtype=np.float64)
    n = data.shape[-1]
    if n == 1:
        # Both signs are equally extreme.
        return np.ones(data.shape[:-1])
    test = stats.permutation_test(
        (_as_integers(data),),
        _mean,
        permutation_type="samples",
        n_resamples=min(_MAX_FLIPS, 2**n),
        batch=max(1, _BATCH // data.size),
        vectorized=True,
        axis=-1,
        rng=0,
    )
    return np.asarray(test.pvalue, dtype=np.float64)


def _as_integers(data: Floats) -> Floats:
    """Scales numbers to integers, whose sums are exact, so that ties are ties."""
    largest = np.abs(data).max(axis=-1, keepdims=True)
    scaled: Floats = data / np.where(largest > 0, largest, 1)
    return np.round(scaled * 2.0**40)


def _mean(values: Floats, axis: int) -> Floats:
    result: Floats = np.mean(values, axis=axis)
    return result


def smallest_p(n: int) -> float:
    """Returns the smallest two-sided p-value of n sign flips.

    For example, five pairs can reach .0625, and six can reach .031.
    """
    return min(1.0, 2.0 ** (1 - n))


def pairs_needed(comparisons: int) -> int:
    """Returns the number of pairs that can reach `ALPHA` after Holm's correction.

    Args:
        comparisons: number of comparisons that Holm's method corrects for.
    """
    level = ALPHA / comparisons
    return math.ceil(1 - math.log2(level))


def holm(p_values: ArrayLike) -> Floats:
    """Corrects p-values by Holm's step-down method.

    The method controls the family-wise error rate (Holm 1979, A simple sequentially
    rejective multiple test procedure).

    Args:
        p_values: p-values [..., m] of m comparisons.

    Returns:
        Corrected p-values [..., m].
    """
    p = np.asarray(p_values, dtype=np.float64)
    m = p.shape[-1]
    order = np.argsort(p, axis=-1)
    ascending = np.take_along_axis(p, order, axis=-1)
    stepped = ascending * np.arange(m, 0, -1)
    monotonic = np.maximum.accumulate(stepped, axis=-1)
    adjusted = np.minimum(monotonic, 1.0)
    result = np.empty_like(p)
    np.put_along_axis(result, order, adjusted, axis=-1)
    return result


def judge(
    mean: float,
    n: int,
    p_holm: float,
    comparisons: int,
    margin: float = 0.0,
    higher_is_better: bool = True,
) -> Verdict:
    """Judges a mean difference to the baseline.

    Args:
        mean: mean difference to the baseline.
        n: number of pairs.
        p_holm: its p-value after Holm's correction.
        comparisons: total number of comparisons with the baseline.
        margin: smallest difference that matters in practice.
        higher_is_better: whether a positive difference is an improvement.
    """
    if comparisons * smallest_p(n) > ALPHA:
        return Verdict.too_few
    if p_holm > ALPHA:
        return Verdict.unclear
    if abs(mean) < margin:
        return Verdict.unclear
    is_improvement = (mean > 0) == higher_is_better
    return Verdict.better if is_improvement else Verdict.worse


def superiority(
    first: Sequence[float],
    second: Sequence[float],
    higher_is_better: bool = True,
) -> float:
    """Computes P(A > B): the probability that a run of A is better than a run of B.

    All pairs of runs count, and a tie counts half.

    Args:
        first: scores of A.
        second: scores of B.
        higher_is_better: whether a higher score is the better one.
    """
    ours = np.asarray(first)
    theirs = np.asarray(second)
    differences = np.subtract.outer(ours, theirs)
    signs = np.sign(differences)
    share = float((signs.mean() + 1) / 2)
    return share if higher_is_better else 1 - share


def mcnemar(first: Booleans, second: Booleans) -> float:
    """Computes the exact two-sided p-value of McNemar's test.

    Args:
        first: whether the first model is correct on each row [num_rows].
        second: the same for the second model.
    """
    only_first = int((first & ~second).sum())
    only_second = int((second & ~first).sum())
    total = only_first + only_second
    if total == 0:
        return 1.0
    return float(stats.binomtest(only_first, total).pvalue)
