"""The figures of a task, from scikit-learn and scipy, over all rows exactly once. Knows no model and no file.

A figure that the rows do not define (AUROC with one class only, the correlation of a constant) is left out and named: no figure is NaN.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit, log_expit, log_softmax, softmax

from ostinato.config import Task

Floats = NDArray[np.float64]

MINIMISED = frozenset({"loss", "mse", "mae", "ece", "brier"})
_ECE_BINS = 15  # as in Guo et al. 2017, "On Calibration of Modern Neural Networks"


@dataclass(frozen=True)
class Scores:
    """What a model's outputs on a split are worth.

    Attributes:
        figures: the task's figures by name.
        undefined: figures that these rows do not define.
        per_class: precision, recall, f1, support and, where defined, auroc of each class; empty for regression.
        confusion: rows are true classes, columns predicted ones, [num_labels, num_labels]; None unless single_label.
        majority: headline figures of whoever always answers the most frequent label of the scored rows (multi_label: for
            each label its more frequent value; regression: the mean).
    """

    figures: dict[str, float]
    undefined: tuple[str, ...]
    per_class: dict[str, dict[str, float]]
    confusion: NDArray[np.int64] | None
    majority: dict[str, float]


def default_monitor(task: Task) -> str:
    """The figure that chooses the best weights, unless the user names one."""
    return {Task.single_label: "accuracy", Task.multi_label: "micro_f1", Task.regression: "mse"}[task]


def is_better(name: str, new: float, old: float, min_delta: float = 0.0) -> bool:
    """Whether a figure improved by more than `min_delta`; losses and errors improve downwards."""
    return (old - new if name in MINIMISED else new - old) > min_delta


def probabilities(task: Task, logits: NDArray[np.float32]) -> Floats:
    """Softmax (single_label) or sigmoid (multi_label) in float64; the values themselves (regression). Shape as given."""
    outputs = logits.astype(np.float64)
    if task is Task.single_label:
        return np.asarray(softmax(outputs, axis=1))
    return np.asarray(expit(outputs)) if task is Task.multi_label else outputs


def score(
    task: Task, logits: NDArray[np.float32], labels: NDArray[Any], names: Sequence[str], threshold: float = 0.5
) -> Scores:
    """Computes all figures of a task.

    Args:
        task: what a label is.
        logits: [num_rows, num_labels]; regression: [num_rows, 1].
        labels: int64 [num_rows], float32 [num_rows, num_labels], or float32 [num_rows], by task.
        names: class names by number; empty for regression.
        threshold: probability above which a label is predicted (multi_label).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what scikit-learn and scipy warn of is named in `undefined`
        if task is Task.single_label:
            return _single_label(logits.astype(np.float64), labels, names)
        if task is Task.multi_label:
            return _multi_label(logits.astype(np.float64), labels.astype(np.int64), names, threshold)
        return _regression(logits.astype(np.float64).reshape(-1), labels.astype(np.float64))


def _single_label(logits: Floats, labels: NDArray[np.int64], names: Sequence[str]) -> Scores:
    from sklearn import metrics

    classes = np.arange(len(names))
    scores = np.asarray(softmax(logits, axis=1))
    predicted = scores.argmax(axis=1)
    onehot, chosen = np.eye(len(names))[labels], np.eye(len(names))[predicted]
    log_likelihood = log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
    figures = {
        "loss": -log_likelihood.mean(),
        "accuracy": metrics.accuracy_score(labels, predicted),
        **{f"{a}_f1": _f1(onehot, chosen, a) for a in ("macro", "micro", "weighted")},
        "mcc": metrics.matthews_corrcoef(labels, predicted),
        "auroc": _auroc(onehot, scores),
        "ece": expected_calibration_error(scores, labels),
        "brier": ((scores - onehot) ** 2).sum(axis=1).mean(),  # summed over classes: 0 to 2, as Brier defined it
    }
    most = np.bincount(labels, minlength=len(names)).argmax()
    majority = {
        "accuracy": float((labels == most).mean()),
        "macro_f1": _f1(onehot, np.eye(len(names))[np.full_like(labels, most)], "macro"),
    }
    confusion = metrics.confusion_matrix(labels, predicted, labels=classes)
    return Scores(*_defined(figures), _per_class(onehot, chosen, scores, names), confusion, majority)


def _multi_label(logits: Floats, labels: NDArray[np.int64], names: Sequence[str], threshold: float) -> Scores:
    from sklearn import metrics

    scores = np.asarray(expit(logits))
    chosen = (scores > threshold).astype(np.int64)
    present = labels.any(axis=0)  # average precision is defined for labels that occur
    average_precision = metrics.average_precision_score(labels[:, present], scores[:, present]) if present.any() else math.nan
    figures = {
        "loss": -(labels * log_expit(logits) + (1 - labels) * log_expit(-logits)).mean(),
        "micro_f1": _f1(labels, chosen, "micro"),
        "macro_f1": _f1(labels, chosen, "macro"),
        "map": average_precision,
        "subset_accuracy": (labels == chosen).all(axis=1).mean(),
    }
    most = np.broadcast_to((labels.mean(axis=0) > 0.5).astype(np.int64), labels.shape)
    majority = {f"{a}_f1": _f1(labels, most, a) for a in ("micro", "macro")}
    majority["subset_accuracy"] = float((labels == most).all(axis=1).mean())
    return Scores(*_defined(figures), _per_class(labels, chosen, scores, names), None, majority)


def _regression(predicted: Floats, labels: Floats) -> Scores:
    error = predicted - labels
    varies = len(labels) > 1 and np.ptp(labels) > 0 and np.ptp(predicted) > 0
    figures = {
        "loss": (error**2).mean(),
        "mse": (error**2).mean(),
        "mae": np.abs(error).mean(),
        "pearson": stats.pearsonr(predicted, labels).statistic if varies else math.nan,
        "spearman": stats.spearmanr(predicted, labels).statistic if varies else math.nan,
    }
    baseline = labels - labels.mean()
    majority = {"mse": float((baseline**2).mean()), "mae": float(np.abs(baseline).mean())}
    return Scores(*_defined(figures), {}, None, majority)


def expected_calibration_error(scores: Floats, labels: NDArray[np.int64]) -> float:
    """Mean distance between confidence and accuracy over 15 equal-width bins of the top probability, weighted by rows.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.
    """
    confidence, correct = scores.max(axis=1), scores.argmax(axis=1) == labels
    # Bins are (low, high]: confidence is never 0.
    bins = np.clip(np.ceil(confidence * _ECE_BINS).astype(np.int64) - 1, 0, _ECE_BINS - 1)
    gaps = np.bincount(bins, weights=correct - confidence, minlength=_ECE_BINS)
    return float(np.abs(gaps).sum() / len(labels))


def _f1(labels: NDArray[Any], chosen: NDArray[Any], average: str) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(labels, chosen, average=average, zero_division=0))


def _auroc(labels: NDArray[Any], scores: Floats) -> float:
    """Area under the ROC curve, one against the rest, averaged over the classes that occur; NaN where a single one does."""
    from sklearn.metrics import roc_auc_score

    defined = labels.any(axis=0) & ~labels.all(axis=0)
    return float(roc_auc_score(labels[:, defined], scores[:, defined], average="macro")) if defined.any() else math.nan


def _per_class(
    labels: NDArray[Any], chosen: NDArray[Any], scores: Floats, names: Sequence[str]
) -> dict[str, dict[str, float]]:
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(labels, chosen, average=None, zero_division=0)
    table = {}
    for number, name in enumerate(names):
        precision, recall, f1, support = (float(column[number]) for column in columns)
        table[name] = {"precision": precision, "recall": recall, "f1": f1, "support": int(support)}
        auroc = _auroc(labels[:, [number]], scores[:, [number]])
        if not math.isnan(auroc):
            table[name]["auroc"] = auroc
    return table


def _defined(figures: dict[str, Any]) -> tuple[dict[str, float], tuple[str, ...]]:
    values = {name: float(value) for name, value in figures.items()}
    undefined = tuple(name for name, value in values.items() if math.isnan(value))
    return {name: value for name, value in values.items() if name not in undefined}, undefined
