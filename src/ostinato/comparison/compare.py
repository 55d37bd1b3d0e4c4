"""Compares configurations from run folders, sweep folders, or a table of scores.

A configuration is chosen on validation. Its test metric is then reported once.
"""

import dataclasses
from collections.abc import Sequence

from ostinato.comparison import table
from ostinato.comparison.build import build
from ostinato.comparison.choice import Groups, choose, partners
from ostinato.comparison.configurations import Comparison, Configuration, Pair, Point
from ostinato.comparison.groups import group_by_configuration, newest, warnings
from ostinato.comparison.metric import Metric
from ostinato.comparison.row_sampling import rows_differ, sample_row_differences
from ostinato.comparison.runs import Run, find_runs, finished
from ostinato.comparison.statistics import variance_by_stream
from ostinato.config import CompareConfig, ComparisonConfig
from ostinato.errors import ConfigError


def compare(cfg: CompareConfig) -> Comparison:
    """Compares what the command names.

    Raises:
        UserError: if a folder, a column or a name does not exist.
    """
    if cfg.runs is not None:
        return compare_runs(find_runs(cfg.runs), cfg.compare)
    points = table.read_table(cfg)
    comparison = build(
        points,
        cfg.score_column,
        cfg.compare,
        cfg.higher_is_better,
    )
    if cfg.majority is not None:
        return comparison
    notes = [*comparison.notes, *table.suspects(points)]
    return dataclasses.replace(comparison, notes=notes)


def compare_runs(found: Sequence[Run], cfg: ComparisonConfig) -> Comparison:
    """Compares runs. Runs that differ in their seeds only form one configuration.

    Raises:
        ConfigError: if the metric or the baseline does not exist.
    """
    runs, repetitions = newest(found)
    metric = Metric.parse(cfg.metric or _monitored(runs))
    _check_metric(metric, runs)
    groups = group_by_configuration(runs)
    points = {}
    for name, members in groups.items():
        points[name] = [_point(run, metric) for run in members]
    comparison = build(
        points,
        str(metric),
        cfg,
        metric.higher_is_better,
    )
    configurations = []
    for configuration in comparison.configurations:
        members = groups[configuration.name]
        configurations.append(_with_streams(configuration, members, metric))
    pairs = [_with_rows(p, groups, metric.split) for p in comparison.against_baseline]
    chosen = None
    if metric.split == "val":
        chosen = choose(comparison, groups, Metric("test", metric.name))
    notes = [*comparison.notes, *repetitions, *warnings(runs)]
    notes += _notes_on_split(metric.split, runs)
    return dataclasses.replace(
        comparison,
        configurations=configurations,
        against_baseline=pairs,
        chosen=chosen,
        notes=notes,
    )


def _monitored(runs: Sequence[Run]) -> str:
    """Returns the validation metric that all runs monitored."""
    monitors = set()
    for run in runs:
        if "monitor" in run.results:
            name = str(run.results["monitor"])
            monitors.add(f"val/{name}")
    if not monitors:
        return "val/accuracy"
    if len(monitors) == 1:
        return monitors.pop()
    names = ", ".join(sorted(monitors))
    raise ConfigError(
        [
            "compare.metric is missing: the runs monitored different metrics "
            f"({names}); give one of them"
        ]
    )


def _check_metric(metric: Metric, runs: Sequence[Run]) -> None:
    """Raises ConfigError if runs finished, and none of them has the metric."""
    complete = finished(runs)
    if not complete:
        return
    for run in complete:
        if run.score(metric) is not None:
            return
    values = complete[0].results.get(metric.split, {})
    available = []
    for name, value in values.items():
        if isinstance(value, float):
            available.append(f"{metric.split}/{name}")
    remedy = f"the runs have no {metric.split} split"
    if available:
        remedy = "use one of: " + ", ".join(available)
    raise ConfigError([f"compare.metric={metric}: no run has this metric; {remedy}"])


def _point(run: Run, metric: Metric) -> Point:
    score = run.score(metric)
    reason = run.reason
    if score is None and not reason:
        reason = f"has no {metric}"
    return Point(
        run=run.name,
        sample=run.sample,
        score=score,
        status=run.status,
        reason=reason,
        collapsed=run.is_collapsed(metric),
    )


def _with_streams(
    configuration: Configuration,
    runs: Sequence[Run],
    metric: Metric,
) -> Configuration:
    """Adds the variance by seed stream, if the seeds of single streams were set."""
    if not any(run.has_stream_seeds for run in runs):
        return configuration
    scored = []
    for run in runs:
        score = run.score(metric)
        if score is not None:
            scored.append((run.streams(), score))
    streams = variance_by_stream(scored)
    return dataclasses.replace(configuration, streams=streams)


def _with_rows(
    pair: Pair,
    groups: Groups,
    split: str,
) -> Pair:
    """Adds the uncertainty from the rows of a split."""
    runs = partners(pair.first, pair.second, groups)
    rows = sample_row_differences(split, runs)
    return dataclasses.replace(pair, rows=rows)


def _notes_on_split(split: str, runs: Sequence[Run]) -> list[str]:
    notes = []
    if rows_differ(split, runs):
        notes.append(
            f"the {split} rows differ between seeds, so the uncertainty from the rows "
            "cannot be estimated; training.seeds.split=0 training.seeds.subsample=0 "
            "keeps the rows the same"
        )
    if split == "test":
        notes.append(
            "compared on test: if you choose a configuration by these metrics, they "
            "are too optimistic to be reported for it"
        )
    return notes
