"""Logits and labels -> the metrics of a task, by scikit-learn and scipy, in float64 and over all rows at once.

A metric that the rows do not define is left out and named, never NaN. Rounds nothing, draws nothing, knows no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, logsumexp, softmax

from ostinato.config import METRICS, Task

# scikit-learn and scipy.stats take over a second to import: inside the functions, so that training starts before.

MINIMISED = frozenset({"loss", "mse", "mae", "ece", "brier"})
"""Names of the metrics of which less is better."""

_MONITOR = {
    Task.single_label: "accuracy",
    Task.multi_label: "micro_f1",
    Task.regression: "mse",
}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """What the predictions on a split are worth.

    Attributes:
        metrics: metric name to value; finite.
        undefined: names of the task's metrics that these rows do not define.
        per_class: label name to precision, recall, f1, support (rows with the label) and, where there are rows with and
            without the label, auroc; multi-label also average_precision. Empty for regression.
        confusion: rows by true (first axis) and predicted label [C, C]; single-label only.
        majority: headline metrics of the predictor that always gives the commonest label (single-label), the commonest
            set of labels (multi-label) or the mean (regression) of the very labels that are scored.
    """

    metrics: dict[str, float]
    undefined: tuple[str, ...]
    per_class: dict[str, dict[str, float | int]] = field(default_factory=dict)
    confusion: NDArray[np.int64] | None = None
    majority: dict[str, float] = field(default_factory=dict)


def default_monitor(task: Task) -> str:
    """Name of the metric that chooses the best weights when the user names none; always defined."""
    return _MONITOR[task]


def undefined(task: Task, labels: NDArray[Any]) -> tuple[str, ...]:
    """Names of the metrics that these labels alone leave undefined, whatever the predictions.

    Args:
        task: what a label is.
        labels: class ids [n] | 0 and 1 [n, C] | values [n].
    """
    if task is Task.single_label:
        return ("auroc",) if np.ptp(labels) == 0 else ()
    if task is Task.multi_label:
        return () if labels.any() else ("map",)
    return ("pearson", "spearman") if np.ptp(labels) == 0 else ()


def is_better(name: str, new: float, old: float, min_delta: float = 0.0) -> bool:
    """Whether a metric improved, and by at least `min_delta`."""
    gain = old - new if name in MINIMISED else new - old
    return gain > 0 and gain >= min_delta


def probabilities(task: Task, logits: NDArray[np.float32]) -> Floats:
    """What a model says, as float64 [n, C]: softmax, or sigmoid per label; regression: the values themselves [n, 1]."""
    values = logits.astype(np.float64).reshape(len(logits), -1)
    if task is Task.regression:
        return values
    result: Floats = (
        softmax(values, axis=1) if task is Task.single_label else expit(values)
    )
    return result


def row_losses(task: Task, logits: NDArray[Any], labels: NDArray[Any]) -> Floats:
    """Negative log-likelihood of each row in nats, float64 [n]: softmax | sigmoid, mean over the labels.

    Computed from differences of logits, as log(1 + sum(exp(other - true))), so that a small loss does not round to 0.

    Args:
        task: single_label or multi_label.
        logits: finite outputs [n, C].
        labels: class ids [n] | 0 and 1 [n, C].
    """
    scores = logits.astype(np.float64)
    losses: Floats
    if task is Task.single_label:
        true = scores[np.arange(len(labels)), labels]
        losses = logsumexp(scores - true[:, None], axis=1)
    else:
        losses = -log_expit(np.where(labels > 0, scores, -scores)).mean(axis=1)
    return losses


def score(
    task: Task,
    logits: NDArray[np.float32],
    labels: NDArray[np.generic],
    names: Sequence[str],
    threshold: float = 0.5,
) -> Scores:
    """Scores the outputs of a model on a split.

    Single-label: loss (cross-entropy in nats), accuracy, macro_f1, micro_f1, weighted_f1, mcc, auroc (one class against
    the rest, averaged over the classes where it is defined), ece, brier (squared distance from the one-hot label, added
    up over the classes: 0 to 2). Multi-label: loss (binary cross-entropy in nats, mean over rows and labels), micro_f1,
    macro_f1, map (average precision, averaged over the labels that occur), subset_accuracy. Regression: loss = mse,
    mae, pearson, spearman. Precision, recall and F1 follow scikit-learn: 0/0 is 0, and single-label macro averages run
    over the classes that occur among labels or predictions; MCC of a constant prediction is 0.

    Args:
        task: what a label is.
        logits: finite outputs [n, C]; regression [n] or [n, 1].
        labels: class ids [n] | 0 and 1 [n, C] | values [n].
        names: names of the C classes, at least two for single_label; not read for regression.
        threshold: probability above which a label is predicted (multi-label).
    """
    assert len(logits) == len(labels) > 0 and np.isfinite(logits).all()
    if task is Task.regression:
        return _regression(probabilities(task, logits)[:, 0], labels.astype(np.float64))
    assert logits.shape[1] == len(names) > (task is Task.single_label)
    if task is Task.single_label:
        return _single_label(logits, labels.astype(np.int64), names)
    return _multi_label(logits, labels.astype(np.int64), names, threshold)


def expected_calibration_error(
    confidence: Floats, correct: NDArray[np.bool_], num_bins: int = 15
) -> float:
    """Mean distance between confidence and accuracy over equal-width bins ((m-1)/M, m/M], weighted by their rows.

    Guo et al. 2017, On Calibration of Modern Neural Networks, equation 3.

    Args:
        confidence: probability of the predicted class [n], in (0, 1].
        correct: whether that class is the true one [n].
        num_bins: M.
    """
    inner_edges = np.linspace(0, 1, num_bins + 1)[1:-1]
    bins = np.digitize(confidence, inner_edges, right=True)
    surplus = np.bincount(bins, weights=confidence - correct, minlength=num_bins)
    return float(np.abs(surplus).sum() / len(confidence))


def _single_label(
    logits: NDArray[np.float32], labels: NDArray[np.int64], names: Sequence[str]
) -> Scores:
    from sklearn.metrics import (
        accuracy_score,
        brier_score_loss,
        confusion_matrix,
        f1_score,
        matthews_corrcoef,
    )

    classes = np.arange(len(names))
    values = probabilities(Task.single_label, logits)
    predicted = values.argmax(axis=1)
    one_hot = labels[:, None] == classes
    metrics = {
        "loss": row_losses(Task.single_label, logits, labels).mean(),
        "accuracy": accuracy_score(labels, predicted),
        **{
            f"{a}_f1": f1_score(labels, predicted, average=a, zero_division=0)
            for a in ("macro", "micro", "weighted")
        },
        "mcc": matthews_corrcoef(labels, predicted)
        if len(np.unique(predicted)) > 1
        else 0.0,
        "ece": expected_calibration_error(values.max(axis=1), predicted == labels),
        "brier": brier_score_loss(labels, values, labels=classes, scale_by_half=False),
    }
    per_class = _per_class(one_hot, predicted[:, None] == classes, values, names)
    aurocs = [row["auroc"] for row in per_class.values() if "auroc" in row]
    if aurocs:  # of two classes, the second is the positive one; the first has the same area but for rounding
        metrics["auroc"] = aurocs[-1] if len(names) == 2 else np.mean(aurocs)
    commonest = np.full_like(labels, np.bincount(labels).argmax())
    majority = {
        "accuracy": float(accuracy_score(labels, commonest)),
        "macro_f1": float(
            f1_score(labels, commonest, average="macro", zero_division=0)
        ),
    }
    confusion = confusion_matrix(labels, predicted, labels=classes)
    return Scores(*_defined(Task.single_label, metrics), per_class, confusion, majority)


def _multi_label(
    logits: NDArray[np.float32],
    labels: NDArray[np.int64],
    names: Sequence[str],
    threshold: float,
) -> Scores:
    from sklearn.metrics import accuracy_score, average_precision_score

    scores = logits.astype(np.float64)
    predicted = probabilities(Task.multi_label, logits) > threshold
    metrics = {
        "loss": row_losses(Task.multi_label, logits, labels).mean(),
        **_f1(labels, predicted),
        "subset_accuracy": accuracy_score(labels, predicted),
    }
    # Ranked by logits: probabilities near 1 run together.
    per_class = _per_class(labels.astype(bool), predicted, scores, names)
    occurring = [i for i in range(len(names)) if labels[:, i].any()]
    for i in occurring:
        per_class[names[i]]["average_precision"] = float(
            average_precision_score(labels[:, i], scores[:, i])
        )
    if occurring:
        metrics["map"] = np.mean(
            [per_class[names[i]]["average_precision"] for i in occurring]
        )
    sets, counts = np.unique(labels, axis=0, return_counts=True)
    commonest = np.broadcast_to(sets[counts.argmax()], labels.shape)
    return Scores(
        *_defined(Task.multi_label, metrics), per_class, majority=_f1(labels, commonest)
    )


def _f1(labels: NDArray[np.int64], predicted: NDArray[Any]) -> dict[str, float]:
    """Micro and macro F1 over the labels."""
    from sklearn.metrics import f1_score

    sides, columns = (_indicator(labels), _indicator(predicted)), range(labels.shape[1])
    return {
        f"{a}_f1": float(f1_score(*sides, labels=columns, average=a, zero_division=0))
        for a in ("micro", "macro")
    }


def _indicator(values: NDArray[Any]) -> NDArray[Any]:
    """0 and 1 [n, C] as scikit-learn takes them: it reads a single column as classes, so that gets an empty one."""
    return values if values.shape[1] > 1 else np.pad(values, ((0, 0), (0, 1)))


def _regression(predicted: Floats, labels: Floats) -> Scores:
    from scipy.stats import pearsonr, spearmanr
    from sklearn.metrics import mean_absolute_error, mean_squared_error

    mse = mean_squared_error(labels, predicted)
    metrics = {"loss": mse, "mse": mse, "mae": mean_absolute_error(labels, predicted)}
    if (
        np.ptp(labels) > 0 and np.ptp(predicted) > 0
    ):  # a constant correlates with nothing
        metrics |= {
            "pearson": pearsonr(labels, predicted).statistic,
            "spearman": spearmanr(labels, predicted).statistic,
        }
    return Scores(
        *_defined(Task.regression, metrics), majority={"mse": float(labels.var())}
    )


def _per_class(
    labels: NDArray[np.bool_],
    predicted: NDArray[np.bool_],
    scores: Floats,
    names: Sequence[str],
) -> dict[str, dict[str, float | int]]:
    from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

    sides = (_indicator(labels), _indicator(predicted))
    columns = precision_recall_fscore_support(
        *sides, labels=range(len(names)), zero_division=0
    )
    result: dict[str, dict[str, float | int]] = {}
    for i, (name, precision, recall, f1, support) in enumerate(
        zip(names, *columns, strict=True)
    ):
        row = {
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
            "support": int(support),
        }
        if 0 < support < len(labels):
            row["auroc"] = float(roc_auc_score(labels[:, i], scores[:, i]))
        result[name] = row
    return result


def _defined(
    task: Task, metrics: dict[str, float]
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Metrics in the task's order as plain floats, and the names of those that are missing."""
    there = {name: float(metrics[name]) for name in METRICS[task] if name in metrics}
    return there, tuple(name for name in METRICS[task] if name not in there)
