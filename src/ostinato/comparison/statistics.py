"""Statistics over repeated runs: what a handful of seeds can and cannot say. Numbers in, numbers out; reads no run.

Functions that a simulation repeats take arrays [..., n] and work along the last axis. scipy does the statistics.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

ALPHA = 0.05
"""The error rate of every interval and verdict."""

_EXACT = (
    2**14
)  # sign flips that are all enumerated: up to 14 pairs; beyond, as many are drawn, with a fixed seed

Floats = NDArray[np.float64]
Interval = tuple[float, float]


class Verdict(str, Enum):
    """What a comparison of a configuration with the baseline allows to say."""

    better = "better"
    worse = "worse"
    unclear = "no clear difference"
    too_few = "too few seeds"


@dataclass(frozen=True)
class Summary:
    """Scores of one configuration.

    Attributes:
        n: number of scores.
        mean: their mean.
        sd: sample standard deviation (n - 1); None for a single score.
        minimum: the smallest.
        median: the middle.
        maximum: the largest.
        interval: 95 % t-interval of the mean; None for a single score.
    """

    n: int
    mean: float
    sd: float | None
    minimum: float
    median: float
    maximum: float
    interval: Interval | None


@dataclass(frozen=True)
class PairedDifference:
    """Differences, first minus second, over the seeds that two configurations share.

    Attributes:
        n: number of pairs.
        mean: mean difference.
        interval: its 95 % t-interval; None for a single pair.
        p: two-sided p-value of flipping signs, exact up to 14 pairs.
        smallest_p: the smallest p that n pairs can reach: 2 / 2^n.
        wins: pairs in which the first is better.
        ties: pairs in which they are equal.
    """

    n: int
    mean: float
    interval: Interval | None
    p: float
    smallest_p: float
    wins: int
    ties: int


@dataclass(frozen=True)
class StreamVariance:
    """How much scores move when the seed of one purpose alone changes.

    Attributes:
        stream: head, order, dropout, split or subsample.
        runs: runs that have a partner which differs from them in this seed alone.
        sets: groups of such partners.
        sd: pooled standard deviation within the groups.
    """

    stream: str
    runs: int
    sets: int
    sd: float


def summarise(scores: Sequence[float]) -> Summary:
    """Describes at least one score."""
    values = np.asarray(scores, dtype=np.float64)
    n = len(values)
    low, high = (
        (float(bound) for bound in mean_interval(values))
        if n > 1
        else (math.nan, math.nan)
    )
    return Summary(
        n=n,
        mean=float(values.mean()),
        sd=float(values.std(ddof=1)) if n > 1 else None,
        minimum=float(values.min()),
        median=float(np.median(values)),
        maximum=float(values.max()),
        interval=(low, high) if n > 1 else None,
    )


def mean_interval(values: ArrayLike) -> tuple[Floats, Floats]:
    """95 % t-interval of the mean of values [..., n > 1], as lower and upper bounds [...]."""
    data = np.asarray(values, dtype=np.float64)
    n = data.shape[-1]
    half = stats.t.ppf(1 - ALPHA / 2, n - 1) * data.std(axis=-1, ddof=1) / math.sqrt(n)
    centre = data.mean(axis=-1)
    return centre - half, centre + half


def sign_flip_p(differences: ArrayLike) -> Floats:
    """Two-sided p-value of the mean of differences [..., n] under random flips of their signs.

    Exact over all 2^n flips up to n = 14; beyond, from 16,384 random ones with a fixed seed.
    """
    data = np.asarray(differences, dtype=np.float64)
    if data.shape[-1] == 1:
        return np.ones(data.shape[:-1])  # either sign is as extreme
    flips = min(_EXACT, 2 ** data.shape[-1])
    test = stats.permutation_test(
        (data,),
        _mean,
        permutation_type="samples",
        n_resamples=flips,
        batch=max(1, 2**22 // data.size),  # bounds the memory of a simulation
        vectorized=True,
        axis=-1,
        rng=0,
    )
    return np.asarray(test.pvalue, dtype=np.float64)


def _mean(values: Floats, axis: int) -> Floats:
    result: Floats = np.mean(values, axis=axis)
    return result


def smallest_p(n: int) -> float:
    """The smallest two-sided p-value that n sign flips can reach: five pairs .0625, six .031."""
    return min(1.0, 2.0 ** (1 - n))


def pairs_needed(comparisons: int) -> int:
    """Pairs with which a sign-flip test can reach the error rate although Holm corrects for `comparisons`."""
    return math.ceil(1 - math.log2(ALPHA / comparisons))


def paired_difference(
    first: Sequence[float], second: Sequence[float], higher_is_better: bool = True
) -> PairedDifference:
    """Compares two configurations over the same seeds, in the same order; at least one pair."""
    differences = np.subtract(first, second, dtype=np.float64)
    n = len(differences)
    gains = differences if higher_is_better else -differences
    low, high = (
        (float(bound) for bound in mean_interval(differences))
        if n > 1
        else (math.nan, math.nan)
    )
    return PairedDifference(
        n=n,
        mean=float(differences.mean()),
        interval=(low, high) if n > 1 else None,
        p=float(sign_flip_p(differences)),
        smallest_p=smallest_p(n),
        wins=int((gains > 0).sum()),
        ties=int((gains == 0).sum()),
    )


def superiority(
    first: Sequence[float], second: Sequence[float], higher_is_better: bool = True
) -> float:
    """P(A > B): how probably a run of the first beats a run of the second, over all pairs; a tie counts half."""
    above = np.sign(np.subtract.outer(np.asarray(first), np.asarray(second)))
    share = float((above.mean() + 1) / 2)
    return share if higher_is_better else 1 - share


def holm(p_values: ArrayLike) -> Floats:
    """Holm's step-down correction of p-values [..., m]: keeps the family-wise error rate.

    Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    p = np.asarray(p_values, dtype=np.float64)
    m = p.shape[-1]
    order = np.argsort(p, axis=-1)
    stepped = np.take_along_axis(p, order, axis=-1) * np.arange(m, 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(stepped, axis=-1), 1.0)
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
    """Says what a difference of n pairs is worth, next to `comparisons` - 1 others.

    Args:
        mean: mean difference to the baseline.
        n: pairs.
        p_holm: its p-value after Holm's correction.
        comparisons: comparisons with the baseline altogether.
        margin: differences smaller than this don't matter in practice.
        higher_is_better: whether a positive difference is an improvement.
    """
    if comparisons * smallest_p(n) > ALPHA:
        return Verdict.too_few
    if p_holm > ALPHA or abs(mean) < margin:
        return Verdict.unclear
    return Verdict.better if (mean > 0) == higher_is_better else Verdict.worse


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Exact two-sided p-value of McNemar's test on which rows [num_rows] each of two models gets right."""
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(stats.binomtest(only_first, only_first + only_second).pvalue)


def bootstrap_rows(values: ArrayLike, num_samples: int = 4000) -> Interval:
    """95 % percentile interval of the mean of values [num_rows] when the rows are drawn anew, with a fixed seed."""
    data = np.asarray(values, dtype=np.float64)
    levels, counts = np.unique(
        data, return_counts=True
    )  # rows of equal value are drawn together: a multinomial
    drawn = np.random.default_rng(0).multinomial(
        len(data), counts / len(data), size=num_samples
    )
    low, high = np.quantile(drawn @ levels / len(data), [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)


def variance_by_stream(
    runs: Sequence[tuple[Mapping[str, Hashable], float]],
) -> list[StreamVariance]:
    """Splits the variance of runs by seed stream: pooled over the sets that differ in one stream's seed alone.

    Args:
        runs: the seed of each stream and the score, for each run of one configuration.
    """
    table = []
    for stream in runs[0][0] if runs else ():
        sets: dict[Hashable, list[float]] = {}
        for seeds, score in runs:
            others = tuple(seed for name, seed in seeds.items() if name != stream)
            sets.setdefault(others, []).append(score)
        varied = [np.asarray(scores) for scores in sets.values() if len(scores) > 1]
        if varied:
            squares = sum(
                float(((scores - scores.mean()) ** 2).sum()) for scores in varied
            )
            freedom = sum(len(scores) - 1 for scores in varied)
            table.append(
                StreamVariance(
                    stream,
                    freedom + len(varied),
                    len(varied),
                    math.sqrt(squares / freedom),
                )
            )
    return table
