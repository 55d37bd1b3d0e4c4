"""What a comparison says, from the scores of configurations: metrics for each, paired differences, verdicts.

Nothing is dropped: a run without a score stays as a point with a reason; collapsed runs count, and metrics without them
stand beside. Verdicts are for comparisons with the baseline, corrected by Holm; other pairs are for orientation.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from ostinato.comparison.row_sampling import RowSampling
from ostinato.comparison.statistics import (
    ALPHA,
    PairedDifference,
    StreamVariance,
    Summary,
    Verdict,
    holm,
    judge,
    paired_difference,
    pairs_needed,
    summarise,
    superiority,
)
from ostinato.config import ComparisonConfig
from ostinato.errors import ConfigError


@dataclass(frozen=True)
class Point:
    """One run of a configuration.

    Attributes:
        run: its folder's name, or its sample in a table.
        sample: what it shares with its partners in other configurations: the seeds.
        score: the compared metric; None without one.
        status: finished, failed, interrupted or unfinished.
        reason: why it has no score.
        collapsed: no better than the majority class.
    """

    run: str
    sample: str
    score: float | None
    status: str = "finished"
    reason: str = ""
    collapsed: bool = False


@dataclass(frozen=True)
class Configuration:
    """Runs that differ in nothing but seeds.

    Attributes:
        name: what tells it from the others.
        points: every run.
        failed: number of points without a score.
        collapsed: number of points no better than the majority class.
        summary: metrics over all scores; None without any.
        without_collapsed: the same without the collapsed runs, if there are some.
        streams: variance by seed stream, where streams were varied apart.
    """

    name: str
    points: list[Point]
    failed: int
    collapsed: int
    summary: Summary | None
    without_collapsed: Summary | None
    streams: list[StreamVariance] = field(default_factory=list)

    def scores(self, collapsed: bool = True) -> dict[str, float]:
        """Score by sample, with or without collapsed runs."""
        return {
            p.sample: p.score
            for p in self.points
            if p.score is not None and (collapsed or not p.collapsed)
        }


@dataclass(frozen=True)
class Pair:
    """Two configurations over the seeds that they share: first minus second.

    Attributes:
        first: name of the one.
        second: name of the other.
        difference: None without a shared seed.
        without_collapsed: the same over seeds at which neither collapsed, if some did.
        superiority: P(A > B), over all pairs of runs; None where one has no score.
        p_holm: p after Holm's correction over the comparisons with the baseline; None for other pairs.
        verdict: None for other pairs.
        remark: what the verdict rests on.
        rows: chance by the scored rows, with the models as they are.
    """

    first: str
    second: str
    difference: PairedDifference | None
    without_collapsed: PairedDifference | None
    superiority: float | None
    p_holm: float | None = None
    verdict: Verdict | None = None
    remark: str = ""
    rows: RowSampling | None = None


@dataclass(frozen=True)
class Chosen:
    """The configuration with the best mean validation metric, and what it does on test: reported this once.

    Attributes:
        name: the configuration.
        metric: its test metric.
        test: over its runs; None without test metrics.
        rows: chance by the test rows (accuracy).
        difference: on test, to the baseline; None for the baseline itself.
        difference_rows: that difference's chance by the test rows (accuracy).
    """

    name: str
    metric: str
    test: Summary | None
    rows: RowSampling | None = None
    difference: PairedDifference | None = None
    difference_rows: RowSampling | None = None


@dataclass(frozen=True)
class Comparison:
    """Everything that the tables, the files and the plots show."""

    metric: str
    higher_is_better: bool
    margin: float
    baseline: str
    configurations: list[Configuration]
    against_baseline: list[Pair]
    other_pairs: list[Pair]
    chosen: Chosen | None = None
    notes: list[str] = field(default_factory=list)


def build(
    points: Mapping[str, Sequence[Point]],
    metric: str,
    cfg: ComparisonConfig,
    higher_is_better: bool = True,
) -> Comparison:
    """Compares configurations by their points.

    Args:
        points: every run of each configuration, by its name.
        metric: name of the score.
        cfg: baseline and margin.
        higher_is_better: whether a higher score is the better one.

    Raises:
        ConfigError: no such baseline.
    """
    configurations = [_configuration(name, list(runs)) for name, runs in points.items()]
    baseline = _baseline(cfg.baseline, configurations)
    others = [c for c in configurations if c is not baseline]
    pairs = [_pair(c, baseline, higher_is_better) for c in others]
    rest = [_pair(a, b, higher_is_better) for a, b in combinations(others, 2)]
    return Comparison(
        metric=metric,
        higher_is_better=higher_is_better,
        margin=cfg.margin,
        baseline=baseline.name,
        configurations=configurations,
        against_baseline=_judged(pairs, cfg.margin, higher_is_better),
        other_pairs=rest,
        notes=[
            _unpaired(pair, configurations)
            for pair in pairs
            if _unpaired(pair, configurations)
        ],
    )


def _configuration(name: str, points: list[Point]) -> Configuration:
    scores = [p.score for p in points if p.score is not None]
    sound = [p.score for p in points if p.score is not None and not p.collapsed]
    collapsed = len(scores) - len(sound)
    return Configuration(
        name=name,
        points=points,
        failed=len(points) - len(scores),
        collapsed=collapsed,
        summary=summarise(scores) if scores else None,
        without_collapsed=summarise(sound) if collapsed and sound else None,
    )


def _baseline(
    wanted: str | None, configurations: Sequence[Configuration]
) -> Configuration:
    if wanted is None:
        return next(
            (c for c in configurations if c.summary is not None), configurations[0]
        )
    exact = [c for c in configurations if c.name == wanted]
    found = exact or [c for c in configurations if wanted.lower() in c.name.lower()]
    if len(found) != 1:
        names = ", ".join(c.name for c in found or configurations)
        problem = "fits several configurations" if found else "no such configuration"
        raise ConfigError(
            [f"compare.baseline={wanted}: {problem}; give one of: {names}"]
        )
    return found[0]


def _pair(first: Configuration, second: Configuration, higher_is_better: bool) -> Pair:
    difference = _difference(first.scores(), second.scores(), higher_is_better)
    collapsed = first.collapsed + second.collapsed > 0
    sound = (
        _difference(first.scores(False), second.scores(False), higher_is_better)
        if collapsed
        else None
    )
    ours, theirs = list(first.scores().values()), list(second.scores().values())
    above = superiority(ours, theirs, higher_is_better) if ours and theirs else None
    return Pair(first.name, second.name, difference, sound, above)


def _difference(
    first: Mapping[str, float], second: Mapping[str, float], higher_is_better: bool
) -> PairedDifference | None:
    shared = [sample for sample in first if sample in second]
    if not shared:
        return None
    return paired_difference(
        [first[s] for s in shared], [second[s] for s in shared], higher_is_better
    )


def _judged(pairs: Sequence[Pair], margin: float, higher_is_better: bool) -> list[Pair]:
    tested = [pair.difference.p for pair in pairs if pair.difference]
    corrected = iter(holm(tested))
    return [
        _verdict(
            pair,
            pair.difference,
            float(next(corrected)),
            len(tested),
            margin,
            higher_is_better,
        )
        if pair.difference
        else dataclasses.replace(
            pair, verdict=Verdict.too_few, remark="no shared seed with a score"
        )
        for pair in pairs
    ]


def _verdict(
    pair: Pair,
    difference: PairedDifference,
    p_holm: float,
    comparisons: int,
    margin: float,
    higher_is_better: bool,
) -> Pair:
    mean, n = difference.mean, difference.n
    verdict = judge(mean, n, p_holm, comparisons, margin, higher_is_better)
    remark = ""
    if verdict is Verdict.too_few:
        reach = min(1.0, comparisons * 2.0 ** (1 - n))
        held = f" and {comparisons} comparisons" if comparisons > 1 else ""
        remark = f"{n} shared seeds{held} reach p = {reach:.2g} at best; {pairs_needed(comparisons)} seeds can reach .05"
    elif verdict is Verdict.unclear and p_holm <= ALPHA:
        remark = f"real, but smaller than compare.margin={margin:g}"
    return dataclasses.replace(pair, p_holm=p_holm, verdict=verdict, remark=remark)


def _unpaired(pair: Pair, configurations: Sequence[Configuration]) -> str:
    ours, theirs = (
        next(c for c in configurations if c.name == name)
        for name in (pair.first, pair.second)
    )
    n = pair.difference.n if pair.difference else 0
    left = len(ours.scores()) + len(theirs.scores()) - 2 * n
    if not left:
        return ""
    return f"{pair.first} - {pair.second}: {left} runs have no partner with the same seed and stay out of the difference"


def best(
    configurations: Sequence[Configuration], higher_is_better: bool
) -> Configuration | None:
    """The configuration with the best mean; one with failed runs only when there is no other."""
    scored = [c for c in configurations if c.summary is not None]
    whole = [c for c in scored if not c.failed] or scored
    sign = 1 if higher_is_better else -1
    return max(
        whole,
        key=lambda c: sign * (c.summary.mean if c.summary else -math.inf),
        default=None,
    )
