"""Formats what a run found about each class."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ostinato.report.confusion_matrix import (
    MatrixLayout,
    layout_matrix,
    most_frequent_confusions,
)
from ostinato.report.run_metrics import RunMetrics
from ostinato.report.table import Table
from ostinato.report.text import count, number, percent, plain
from ostinato.scoring.plots import MAX_CLASSES


def confusion_matrix(metrics: RunMetrics) -> MatrixLayout | None:
    """The confusion matrix; None if there is none, or too many classes to draw."""
    confusion = _confusion(metrics)
    if confusion is None or len(metrics.labels) > MAX_CLASSES:
        return None
    return layout_matrix(confusion, metrics.labels)


def confusion_table(metrics: RunMetrics) -> Table:
    """The most frequent confusions; no rows if there is no confusion matrix."""
    columns = ["true", "predicted", "rows", "share of the true class"]
    confusion = _confusion(metrics)
    if confusion is None:
        return Table(columns, [])
    rows = []
    for confused in most_frequent_confusions(confusion, metrics.labels):
        true, predicted, num_rows, share = confused
        rows.append([true, predicted, count(num_rows), percent(share)])
    return Table(columns, rows)


def _confusion(metrics: RunMetrics) -> NDArray[np.int64] | None:
    """Number of rows by true and predicted class [C, C]; single-label only."""
    scores = metrics.scores.get(metrics.main_split)
    return scores.confusion if scores else None


def class_table(metrics: RunMetrics) -> Table:
    """Metrics of each class, lowest F1 first."""
    split = metrics.main_split
    columns = ["class", "train rows", f"{split} rows"]
    columns += ["precision", "recall", "F1", "AUROC"]
    shown = ["precision", "recall", "f1", "auroc"]
    thresholds = _thresholds(metrics)
    if thresholds:
        shown.append("average_precision")
        columns += ["average precision", "tuned threshold"]

    summary = metrics.contents.summary
    num_train_rows = summary.get("read", {}).get("train", {}).get("label_counts", {})
    per_class = metrics.scores[split].per_class
    rows = []
    for name in sorted(per_class, key=lambda name: (per_class[name]["f1"], name)):
        scores = per_class[name]
        support = count(int(scores["support"]))
        row = [plain(name), count(num_train_rows.get(name)), support]
        row += [number(scores.get(metric), 3) for metric in shown]
        if thresholds:
            row.append(number(thresholds.get(name), 3))
        rows.append(row)
    return Table(columns, rows)


def _thresholds(metrics: RunMetrics) -> Mapping[str, float]:
    """Tuned threshold of each label; empty except for calibrated multi-label runs."""
    calibration = metrics.contents.calibration
    if calibration is None or not calibration.thresholds:
        return {}
    return dict(zip(metrics.contents.labels, calibration.thresholds, strict=False))
