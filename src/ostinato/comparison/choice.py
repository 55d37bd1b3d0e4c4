"""Chooses a configuration on validation, and reports it once on test."""

import dataclasses
from collections.abc import Mapping, Sequence

from ostinato.comparison.configurations import Chosen, Comparison, Configuration
from ostinato.comparison.metric import Metric
from ostinato.comparison.row_sampling import sample_row_differences, sample_rows
from ostinato.comparison.runs import Run, finished
from ostinato.comparison.significance import PairedDifference, paired_difference
from ostinato.comparison.statistics import summarise

Pairs = Sequence[tuple[Run, Run]]
Groups = Mapping[str, Sequence[Run]]
"""Configuration name to its runs."""


def choose(
    comparison: Comparison,
    groups: Groups,
    metric: Metric,
) -> Chosen | None:
    """Chooses the best configuration of a comparison, and scores it on test.

    Args:
        comparison: a comparison on validation.
        groups: the runs of each configuration.
        metric: the metric to report on test.

    Returns:
        None if no configuration has scores.
    """
    configuration = best(comparison.configurations, comparison.higher_is_better)
    if configuration is None:
        return None
    runs = finished(groups[configuration.name])
    scores = _scores(runs, metric)
    chosen = Chosen(
        name=configuration.name,
        metric=str(metric),
        test=summarise(scores) if scores else None,
        rows=sample_rows("test", runs),
    )
    if not scores or chosen.name == comparison.baseline:
        return chosen
    pairs = partners(chosen.name, comparison.baseline, groups)
    difference = _difference(pairs, metric, comparison.higher_is_better)
    if difference is None:
        return chosen
    return dataclasses.replace(
        chosen,
        difference=difference,
        difference_rows=sample_row_differences("test", pairs),
    )


def best(
    configurations: Sequence[Configuration], higher_is_better: bool
) -> Configuration | None:
    """Returns the configuration with the best mean; None if none has scores.

    A configuration with failed runs is considered only if all of them have failed runs.
    """
    scored = [c for c in configurations if c.summary is not None]
    complete = [c for c in scored if c.failed == 0]
    candidates = complete or scored
    if not candidates:
        return None
    choose_by_mean = max if higher_is_better else min
    return choose_by_mean(candidates, key=_mean)


def _mean(configuration: Configuration) -> float:
    assert configuration.summary is not None
    return configuration.summary.mean


def partners(
    first: str,
    second: str,
    groups: Groups,
) -> Pairs:
    """Returns the finished runs of two configurations with the same seeds.

    Args:
        first: name of the first configuration.
        second: name of the second configuration.
        groups: the runs of each configuration.
    """
    ours = _by_sample(groups[first])
    theirs = _by_sample(groups[second])
    pairs = []
    for sample, run in ours.items():
        if sample in theirs:
            pair = (run, theirs[sample])
            pairs.append(pair)
    return pairs


def _by_sample(runs: Sequence[Run]) -> dict[str, Run]:
    return {run.sample: run for run in finished(runs)}


def _scores(runs: Sequence[Run], metric: Metric) -> list[float]:
    scores = [run.score(metric) for run in runs]
    return [score for score in scores if score is not None]


def _difference(
    pairs: Pairs,
    metric: Metric,
    higher_is_better: bool,
) -> PairedDifference | None:
    ours = []
    theirs = []
    for first, second in pairs:
        first_score = first.score(metric)
        second_score = second.score(metric)
        if first_score is not None and second_score is not None:
            ours.append(first_score)
            theirs.append(second_score)
    if not ours:
        return None
    return paired_difference(ours, theirs, higher_is_better)
