"""Formats the metrics of a run: tiles, the table of metrics, the calibration."""

from collections.abc import Iterable, Sequence

from ostinato.config import Task
from ostinato.report.row_groups import HEADLINES
from ostinato.report.run_metrics import RunMetrics
from ostinato.report.table import Table
from ostinato.report.text import BASELINES, interval, number, title
from ostinato.scoring.metrics import MINIMISED
from ostinato.scoring.scores import Scores
from ostinato.scoring.temperature import MIN_ERRORS

_OF_PROBABILITIES = ("loss", "ece", "brier", "kl")

Tile = tuple[str, str, str]
"""Name, value, and what to compare the value with."""


def tiles(metrics: RunMetrics) -> list[Tile]:
    """The headline metrics of the main split, and its calibration error."""
    split = metrics.main_split
    if split not in metrics.scores:
        return []
    tiles = [_headline_tile(metrics, name) for name in HEADLINES[metrics.contents.task]]
    calibration = metrics.contents.calibration
    if calibration is not None and calibration.ece is not None:
        before = metrics.scores[split].metrics["ece"]
        after = metrics.calibrated_scores[split].metrics["ece"]
        comparison = f"{number(before)} before scaling"
        tiles.append((f"{split} calibration error", number(after), comparison))
    return tiles


def _headline_tile(metrics: RunMetrics, name: str) -> Tile:
    split = metrics.main_split
    estimate = metrics.estimates[split][name]
    comparison = interval(estimate)
    baseline = metrics.scores[split].majority.get(name)
    if baseline is not None:
        comparison += f", {BASELINES[metrics.contents.task]} {number(baseline)}"
    return f"{split} {title(name)}", number(estimate.value), comparison


def metric_table(metrics: RunMetrics) -> Table:
    """Each metric on each split, with its interval and the baseline."""
    splits = list(metrics.scores)[::-1]
    columns = ["metric"]
    for split in splits:
        columns += [split, "95 % interval", BASELINES[metrics.contents.task]]

    rows = []
    for name in metrics.scores[metrics.main_split].metrics:
        row = [f"{title(name)} ↓" if name in MINIMISED else title(name)]
        for split in splits:
            scores = metrics.scores[split]
            row += [
                number(scores.metrics.get(name)),
                interval(metrics.estimates[split].get(name)),
                number(scores.majority.get(name)),
            ]
        rows.append(row)
    return Table(columns, rows)


def calibration_note(metrics: RunMetrics) -> str:
    """What was fitted, and on which rows."""
    fitted = metrics.contents.calibration
    assert fitted is not None
    sentences = [f"The temperature is {number(fitted.temperature)}."]
    if fitted.thresholds:
        sentences.append(
            "Each label has the threshold with the best F1, "
            "or 0.5 if all rows or no rows have the label."
        )
        subject = "Temperature and thresholds are"
    else:
        subject = "It is"
    sentences.append(
        f"{subject} fitted only on the {fitted.num_rows:,} validation rows."
    )
    if fitted.temperature == 1:
        sentences.append(
            "The temperature stays 1 because these rows do not determine another "
            f"value; a value below 1 needs at least {MIN_ERRORS} errors."
        )
    sentences.append("To predict with this calibration, set calibrated=true.")
    return " ".join(sentences)


def calibration_table(metrics: RunMetrics) -> Table:
    """Metrics of each split before and after calibration."""
    rows: list[Sequence[str]] = []
    for split, calibrated in metrics.calibrated_scores.items():
        before = metrics.scores[split].metrics
        for name in _calibration_metrics(metrics.contents.task, calibrated):
            after = calibrated.metrics.get(name)
            rows.append([split, title(name), number(before.get(name)), number(after)])
    return Table(["split", "metric", "before", "after"], rows)


def _calibration_metrics(task: Task, calibrated: Scores) -> Iterable[str]:
    """Names of the metrics that calibration can change."""
    if task is Task.single_label:
        return [name for name in calibrated.metrics if name in _OF_PROBABILITIES]
    return [name for name in calibrated.metrics if name != "map"]
