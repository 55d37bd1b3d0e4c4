"""Judges the comparisons with the baseline, corrected by Holm's method."""

import dataclasses
from collections.abc import Sequence

from ostinato.comparison.configurations import Pair
from ostinato.comparison.significance import (
    PairedDifference,
    Verdict,
    holm,
    judge,
    pairs_needed,
    smallest_p,
)
from ostinato.comparison.statistics import ALPHA


def judge_pairs(
    pairs: Sequence[Pair],
    margin: float,
    higher_is_better: bool,
) -> list[Pair]:
    """Adds a corrected p-value, a verdict and a remark to each pair.

    Args:
        pairs: each configuration minus the baseline.
        margin: smallest difference that matters in practice.
        higher_is_better: whether a higher score is the better one.
    """
    p_values = [pair.difference.p for pair in pairs if pair.difference]
    corrected = iter(holm(p_values))
    judged = []
    for pair in pairs:
        if pair.difference is None:
            remark = "no seed has a score in both"
            new = dataclasses.replace(
                pair,
                verdict=Verdict.too_few,
                remark=remark,
            )
        else:
            p_holm = float(next(corrected))
            new = dataclasses.replace(pair, p_holm=p_holm)
            new = _judge(
                new,
                pair.difference,
                len(p_values),
                margin,
                higher_is_better,
            )
        judged.append(new)
    return judged


def _judge(
    pair: Pair,
    difference: PairedDifference,
    comparisons: int,
    margin: float,
    higher_is_better: bool,
) -> Pair:
    assert pair.p_holm is not None
    n = difference.n
    verdict = judge(
        difference.mean, n, pair.p_holm, comparisons, margin, higher_is_better
    )
    remark = ""
    if verdict is Verdict.too_few:
        remark = _too_few_seeds(n, comparisons)
    elif verdict is Verdict.unclear and pair.p_holm <= ALPHA:
        remark = f"significant, but smaller than compare.margin={margin:g}"
    return dataclasses.replace(
        pair,
        verdict=verdict,
        remark=remark,
    )


def _too_few_seeds(n: int, comparisons: int) -> str:
    limit = min(1.0, comparisons * smallest_p(n))
    given = f"{n} shared seeds" if n > 1 else "1 shared seed"
    if comparisons > 1:
        given += f" and {comparisons} comparisons"
    needed = pairs_needed(comparisons)
    return (
        f"with {given}, the smallest possible p is {limit:.2g}; "
        f"{needed} seeds can reach .05"
    )
