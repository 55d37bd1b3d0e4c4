"""The contents of a comparison, as the tables, the files and the plots show it."""

from dataclasses import dataclass, field

from ostinato.comparison.row_sampling import RowSampling
from ostinato.comparison.significance import PairedDifference, Verdict
from ostinato.comparison.statistics import StreamVariance, Summary


@dataclass(frozen=True)
class Point:
    """One run of a configuration.

    Attributes:
        run: name of the run folder, or the sample in a table.
        sample: the seeds. Runs of different configurations with the same sample form a
            pair.
        score: the compared metric; None if the run has none.
        status: finished, failed, interrupted or unfinished.
        reason: why the run has no score.
        collapsed: whether the score is no better than that of the majority class.
    """

    run: str
    sample: str
    score: float | None
    status: str = "finished"
    reason: str = ""
    collapsed: bool = False


@dataclass(frozen=True)
class Configuration:
    """Runs that differ in their seeds only.

    Attributes:
        name: the config values that differ from other configurations.
        points: all runs.
        failed: number of points without a score.
        collapsed: number of collapsed points.
        summary: statistics of all scores; None without scores.
        without_collapsed: the same without collapsed runs; None if no run collapsed,
            or all did.
        streams: variance by seed stream, if the seeds of single streams were set.
    """

    name: str
    points: list[Point]
    failed: int
    collapsed: int
    summary: Summary | None
    without_collapsed: Summary | None
    streams: list[StreamVariance] = field(default_factory=list)

    def scores(self, include_collapsed: bool = True) -> dict[str, float]:
        """Returns the scores by sample, with or without collapsed runs."""
        scores = {}
        for point in self.points:
            if point.score is None:
                continue
            if include_collapsed or not point.collapsed:
                scores[point.sample] = point.score
        return scores


@dataclass(frozen=True)
class Pair:
    """Two configurations over the seeds that they share: first minus second.

    Attributes:
        first: name of the first configuration.
        second: name of the second configuration.
        difference: None if they share no seed.
        without_collapsed: the difference over the seeds for which no run collapsed;
            None if no run collapsed.
        superiority: P(A > B) over all pairs of runs; None if either has no score.
        p_holm: p-value after Holm's correction over the comparisons with the baseline;
            None for other pairs.
        verdict: None for other pairs.
        remark: reason for the verdict.
        rows: uncertainty from the scored rows, with the models as they are.
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
    """The configuration with the best mean validation metric, and its test metric.

    Only this configuration is reported on test.

    Attributes:
        name: name of the configuration.
        metric: the test metric.
        test: statistics over its runs; None without test metrics.
        rows: uncertainty of the test accuracy from the rows.
        difference: test difference to the baseline; None for the baseline itself.
        difference_rows: uncertainty of the difference in test accuracy from the rows.
    """

    name: str
    metric: str
    test: Summary | None
    rows: RowSampling | None = None
    difference: PairedDifference | None = None
    difference_rows: RowSampling | None = None


@dataclass(frozen=True)
class Comparison:
    """Everything that the tables, the files and the plots show.

    Attributes:
        metric: name of the compared score.
        higher_is_better: whether a higher score is the better one.
        margin: smallest difference that matters in practice.
        baseline: name of the baseline.
        configurations: all configurations, in the given order.
        against_baseline: each other configuration minus the baseline, with a verdict.
        other_pairs: all other pairs, without a verdict.
        chosen: the best configuration on validation; None for tables, or on test.
        notes: what the reader should know, one line each.
    """

    metric: str
    higher_is_better: bool
    margin: float
    baseline: str
    configurations: list[Configuration]
    against_baseline: list[Pair]
    other_pairs: list[Pair]
    chosen: Chosen | None = None
    notes: list[str] = field(default_factory=list)
