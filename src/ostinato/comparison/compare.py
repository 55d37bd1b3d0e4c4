"""Which configuration is better, and is that real: from run folders, sweep folders, or a table of scores.

Selection is on validation: the test metric is reported once, for the configuration that validation chose.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from ostinato.comparison import table
from ostinato.comparison.configurations import (
    Chosen,
    Comparison,
    Configuration,
    Pair,
    Point,
    best,
    build,
)
from ostinato.comparison.row_sampling import (
    rows_differ,
    sample_row_differences,
    sample_rows,
)
from ostinato.comparison.runs import STREAMS, Run, find_runs, names, newest, warnings
from ostinato.comparison.statistics import (
    paired_difference,
    summarise,
    variance_by_stream,
)
from ostinato.config import CompareConfig, ComparisonConfig
from ostinato.errors import ConfigError
from ostinato.scoring.metrics import MINIMISED

Groups = Mapping[str, Sequence[Run]]


def compare(cfg: CompareConfig) -> Comparison:
    """Compares what the command names.

    Raises:
        UserError: folders, columns or names that are not there.
    """
    if cfg.runs is not None:
        return compare_runs(find_runs(cfg.runs), cfg.compare)
    points = table.read_table(cfg)
    comparison = build(points, cfg.score_column, cfg.compare, cfg.higher_is_better)
    suspects = table.suspects(points) if cfg.majority is None else ()
    return dataclasses.replace(comparison, notes=[*comparison.notes, *suspects])


def compare_runs(found: Sequence[Run], cfg: ComparisonConfig) -> Comparison:
    """Compares runs; those that differ only in seeds form one configuration.

    Raises:
        ConfigError: no such metric or baseline.
    """
    runs, repeated = newest(found)
    metric = cfg.metric or _monitored(runs)
    split, name = metric.split("/", 1) if "/" in metric else ("", "")
    if split not in ("val", "test"):
        raise ConfigError(
            [
                f"compare.metric={metric}: give a split and a metric, e.g. val/accuracy or test/macro_f1"
            ]
        )
    finished = [run for run in runs if run.status == "finished"]
    if finished and all(run.score(metric) is None for run in finished):
        there = ", ".join(
            f"{split}/{key}"
            for key, value in finished[0].results.get(split, {}).items()
            if isinstance(value, float)
        )
        raise ConfigError(
            [
                f"compare.metric={metric}: no run has this metric; there is {there or f'no {split} split'}"
            ]
        )
    named = names([run for run in runs if run.identity])
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(named.get(run.group, f"{run.name} (no config)"), []).append(
            run
        )
    points = {
        configuration: [_point(run, metric) for run in members]
        for configuration, members in groups.items()
    }
    higher = name not in MINIMISED
    comparison = build(points, metric, cfg, higher)
    notes = [*comparison.notes, *repeated, *warnings(runs)]
    if rows_differ(split, runs):
        notes.append(
            f"the {split} rows differ between seeds, so that chance by rows cannot be told apart; "
            "training.seeds.split=0 training.seeds.subsample=0 keeps them"
        )
    if split == "test":
        notes.append(
            "compared on test: a choice made by these metrics makes them too good to be reported for it"
        )
    return dataclasses.replace(
        comparison,
        configurations=[
            _with_streams(c, groups[c.name], metric) for c in comparison.configurations
        ],
        against_baseline=[
            _with_rows(pair, groups, split) for pair in comparison.against_baseline
        ],
        chosen=_choose(comparison, groups, f"test/{name}") if split == "val" else None,
        notes=notes,
    )


def _monitored(runs: Sequence[Run]) -> str:
    monitors = {str(run.results["monitor"]) for run in runs if "monitor" in run.results}
    if len(monitors) > 1:
        names = ", ".join(f"val/{name}" for name in sorted(monitors))
        raise ConfigError(
            [
                f"compare.metric is missing: the runs monitored different metrics ({names}); give one"
            ]
        )
    return f"val/{monitors.pop() if monitors else 'accuracy'}"


def _point(run: Run, metric: str) -> Point:
    score = run.score(metric)
    reason = run.reason or ("" if score is not None else f"has no {metric}")
    return Point(
        run.name, run.sample, score, run.status, reason, run.is_collapsed(metric)
    )


def _with_streams(
    configuration: Configuration, runs: Sequence[Run], metric: str
) -> Configuration:
    scored = [
        (run.streams(), score)
        for run in runs
        if (score := run.score(metric)) is not None
    ]
    apart = any(name in STREAMS for run in runs for name in run.seeds)
    return dataclasses.replace(
        configuration, streams=variance_by_stream(scored) if apart else []
    )


def _with_rows(pair: Pair, groups: Groups, split: str) -> Pair:
    return dataclasses.replace(
        pair,
        rows=sample_row_differences(split, _partners(pair.first, pair.second, groups)),
    )


def _partners(first: str, second: str, groups: Groups) -> list[tuple[Run, Run]]:
    """Finished runs of two configurations with the same seeds."""
    ours, theirs = (
        {run.sample: run for run in groups[name] if run.status == "finished"}
        for name in (first, second)
    )
    return [(run, theirs[sample]) for sample, run in ours.items() if sample in theirs]


def _choose(comparison: Comparison, groups: Groups, metric: str) -> Chosen | None:
    chosen = best(comparison.configurations, comparison.higher_is_better)
    if chosen is None:
        return None
    finished = [run for run in groups[chosen.name] if run.status == "finished"]
    scores = [score for run in finished if (score := run.score(metric)) is not None]
    result = Chosen(
        chosen.name,
        metric,
        summarise(scores) if scores else None,
        sample_rows("test", finished),
    )
    if chosen.name == comparison.baseline or not scores:
        return result
    pairs = _partners(chosen.name, comparison.baseline, groups)
    metrics = [(a.score(metric), b.score(metric)) for a, b in pairs]
    both = [(a, b) for a, b in metrics if a is not None and b is not None]
    if not both:
        return result
    ours, theirs = zip(*both, strict=True)
    return dataclasses.replace(
        result,
        difference=paired_difference(ours, theirs, comparison.higher_is_better),
        difference_rows=sample_row_differences("test", pairs),
    )
