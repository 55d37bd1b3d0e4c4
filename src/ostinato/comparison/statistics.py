"""Descriptive statistics over repeated runs, and confidence intervals.

Functions that a simulation repeats take arrays [..., n] and work along the last axis.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from ostinato.scoring.arrays import Floats

ALPHA = 0.05
"""The error rate of every interval and verdict."""

_QUANTILES = (ALPHA / 2, 1 - ALPHA / 2)

Interval = tuple[float, float]
SeedsAndScore = tuple[Mapping[str, Hashable], float]


@dataclass(frozen=True)
class Summary:
    """Summary of the scores of one configuration.

    Attributes:
        n: number of scores.
        mean: their mean.
        sd: sample standard deviation (n - 1); None for a single score.
        minimum: the smallest score.
        median: the median.
        maximum: the largest score.
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
class StreamVariance:
    """How much the scores vary if the seed of a single stream changes.

    Attributes:
        stream: head, adapter, order, dropout, split or subsample.
        runs: number of runs for which another run differs in this seed only.
        sets: number of sets that these runs form.
        sd: standard deviation within the sets, pooled.
    """

    stream: str
    runs: int
    sets: int
    sd: float


def summarise(scores: Sequence[float]) -> Summary:
    """Summarises at least one score."""
    values = np.asarray(scores, dtype=np.float64)
    n = len(values)
    sd = None
    if n > 1:
        sd = float(values.std(ddof=1))
    return Summary(
        n=n,
        mean=float(values.mean()),
        sd=sd,
        minimum=float(values.min()),
        median=float(np.median(values)),
        maximum=float(values.max()),
        interval=interval_of_mean(values),
    )


def interval_of_mean(values: Floats) -> Interval | None:
    """Computes the 95 % t-interval of the mean of values [n]; None for one value."""
    if len(values) == 1:
        return None
    low, high = mean_interval(values)
    return float(low), float(high)


def mean_interval(values: ArrayLike) -> tuple[Floats, Floats]:
    """Computes the 95 % t-interval of the mean.

    Args:
        values: numbers [..., n], n > 1.

    Returns:
        Lower and upper bounds, each [...].
    """
    data = np.asarray(values, dtype=np.float64)
    n = data.shape[-1]
    sd = data.std(axis=-1, ddof=1)
    _, upper = _QUANTILES
    quantile = stats.t.ppf(upper, n - 1)
    half_width = quantile * sd / math.sqrt(n)
    centre = data.mean(axis=-1)
    return centre - half_width, centre + half_width


def bootstrap_rows(values: ArrayLike, num_samples: int = 4000) -> Interval:
    """Computes the 95 % percentile interval of the mean over resampled rows.

    The resampling has a fixed seed.

    Args:
        values: one number for each row [num_rows].
        num_samples: number of samples.
    """
    data = np.asarray(values, dtype=np.float64)
    num_rows = len(data)
    generator = np.random.default_rng(0)
    # Only the number of rows with each value matters, so a multinomial draws it.
    levels, counts = np.unique(data, return_counts=True)
    shares = counts / num_rows
    resampled_counts = generator.multinomial(num_rows, shares, size=num_samples)
    means = resampled_counts @ levels / num_rows
    low, high = np.quantile(means, _QUANTILES)
    return float(low), float(high)


def variance_by_stream(runs: Sequence[SeedsAndScore]) -> list[StreamVariance]:
    """Computes the variance that each seed stream causes.

    The variance of a stream is pooled over the sets of runs that differ in the seed of
    this stream only.

    Args:
        runs: the seed of each stream and the score, for each run of one configuration.
    """
    if not runs:
        return []
    table = []
    first_seeds, _ = runs[0]
    for stream in first_seeds:
        variance = _variance_of_stream(stream, runs)
        if variance is not None:
            table.append(variance)
    return table


def _variance_of_stream(
    stream: str, runs: Sequence[SeedsAndScore]
) -> StreamVariance | None:
    """Returns None if no two runs differ in the seed of this stream only."""
    sets: dict[Hashable, list[float]] = {}
    for seeds, score in runs:
        others = tuple(seed for name, seed in seeds.items() if name != stream)
        sets.setdefault(others, []).append(score)
    num_runs = 0
    num_sets = 0
    squares = 0.0
    for members in sets.values():
        if len(members) == 1:
            continue
        num_runs += len(members)
        num_sets += 1
        scores = np.asarray(members)
        deviations = scores - scores.mean()
        squares += float((deviations**2).sum())
    if num_sets == 0:
        return None
    degrees_of_freedom = num_runs - num_sets
    sd = math.sqrt(squares / degrees_of_freedom)
    return StreamVariance(stream, num_runs, num_sets, sd)
