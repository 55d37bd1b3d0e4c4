"""Builds a comparison from the scores of configurations.

Every run is kept: a run without a score is a point with a reason, and collapsed runs
count.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

from ostinato.comparison.configurations import Comparison, Configuration, Pair, Point
from ostinato.comparison.significance import (
    PairedDifference,
    paired_difference,
    superiority,
)
from ostinato.comparison.statistics import summarise
from ostinato.comparison.verdicts import judge_pairs
from ostinato.config import ComparisonConfig
from ostinato.errors import ConfigError


def build(
    points: Mapping[str, Sequence[Point]],
    metric: str,
    cfg: ComparisonConfig,
    higher_is_better: bool = True,
) -> Comparison:
    """Compares configurations by their points.

    Args:
        points: configuration name to all its runs.
        metric: name of the score.
        cfg: baseline and margin.
        higher_is_better: whether a higher score is the better one.

    Raises:
        ConfigError: if no configuration, or several, match the baseline.
    """
    configurations = []
    for name, runs in points.items():
        configuration = _configuration(name, list(runs))
        configurations.append(configuration)
    baseline = _find_baseline(cfg.baseline, configurations)
    others = [c for c in configurations if c is not baseline]
    pairs = []
    notes = []
    for configuration in others:
        pair = _pair(configuration, baseline, higher_is_better)
        pairs.append(pair)
        notes += _unpaired_note(pair, configuration, baseline)
    other_pairs = []
    for first, second in combinations(others, 2):
        pair = _pair(first, second, higher_is_better)
        other_pairs.append(pair)
    return Comparison(
        metric=metric,
        higher_is_better=higher_is_better,
        margin=cfg.margin,
        baseline=baseline.name,
        configurations=configurations,
        against_baseline=judge_pairs(pairs, cfg.margin, higher_is_better),
        other_pairs=other_pairs,
        notes=notes,
    )


def _configuration(name: str, points: list[Point]) -> Configuration:
    scores = []
    sound = []
    for point in points:
        if point.score is None:
            continue
        scores.append(point.score)
        if not point.collapsed:
            sound.append(point.score)
    num_collapsed = len(scores) - len(sound)
    summary = None
    if scores:
        summary = summarise(scores)
    without_collapsed = None
    if num_collapsed > 0 and sound:
        without_collapsed = summarise(sound)
    return Configuration(
        name=name,
        points=points,
        failed=len(points) - len(scores),
        collapsed=num_collapsed,
        summary=summary,
        without_collapsed=without_collapsed,
    )


def _find_baseline(
    wanted: str | None, configurations: Sequence[Configuration]
) -> Configuration:
    """Finds a configuration by its name, or by a part of it.

    Without a wanted name, this is the first configuration that has scores.
    """
    if wanted is None:
        for configuration in configurations:
            if configuration.summary is not None:
                return configuration
        return configurations[0]
    matches = [c for c in configurations if c.name == wanted]
    if not matches:
        part = wanted.lower()
        matches = [c for c in configurations if part in c.name.lower()]
    if len(matches) == 1:
        return matches[0]
    problem = "matches several configurations"
    if not matches:
        problem = "no configuration has this name"
    choices = matches or configurations
    names = ", ".join(c.name for c in choices)
    raise ConfigError([f"compare.baseline={wanted}: {problem}; give one of: {names}"])


def _pair(
    first: Configuration,
    second: Configuration,
    higher_is_better: bool,
) -> Pair:
    first_scores = first.scores()
    second_scores = second.scores()
    without_collapsed = None
    if first.collapsed or second.collapsed:
        without_collapsed = _difference(
            first.scores(include_collapsed=False),
            second.scores(include_collapsed=False),
            higher_is_better,
        )
    probability = None
    if first_scores and second_scores:
        probability = superiority(
            list(first_scores.values()),
            list(second_scores.values()),
            higher_is_better,
        )
    return Pair(
        first=first.name,
        second=second.name,
        difference=_difference(first_scores, second_scores, higher_is_better),
        without_collapsed=without_collapsed,
        superiority=probability,
    )


def _difference(
    first: Mapping[str, float],
    second: Mapping[str, float],
    higher_is_better: bool,
) -> PairedDifference | None:
    """Compares scores by sample over the samples that both have."""
    ours = []
    theirs = []
    for sample, score in first.items():
        if sample in second:
            ours.append(score)
            theirs.append(second[sample])
    if not ours:
        return None
    return paired_difference(ours, theirs, higher_is_better)


def _unpaired_note(
    pair: Pair,
    first: Configuration,
    second: Configuration,
) -> list[str]:
    """Returns a line about runs without a partner, if there are any."""
    num_pairs = pair.difference.n if pair.difference else 0
    num_scores = len(first.scores()) + len(second.scores())
    num_unpaired = num_scores - 2 * num_pairs
    if num_unpaired == 0:
        return []
    subject = f"{num_unpaired} runs have"
    excluded = "them"
    if num_unpaired == 1:
        subject = "1 run has"
        excluded = "it"
    names = f"{pair.first} - {pair.second}"
    return [
        f"{names}: {subject} no partner with the same seed; "
        f"the difference excludes {excluded}"
    ]
