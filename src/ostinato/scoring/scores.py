"""Computes the metrics of a task from logits and labels, with scikit-learn and scipy.

A metric that the rows do not define is omitted and named; it is never NaN. Nothing is
rounded.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ostinato.config import DISTRIBUTION_METRICS, METRICS, Task
from ostinato.scoring.arrays import Distributions, Floats, Integers, Labels, Logits
from ostinato.scoring.calibration_error import expected_calibration_error
from ostinato.scoring.classification import (
    PerClass,
    f1,
    mcc,
    micro_and_macro_f1,
    per_class_metrics,
)
from ostinato.scoring.metrics import (
    divergences,
    mean_loss,
    normalised,
    probabilities,
)

# The functions import scikit-learn and scipy.stats themselves, because these imports
# take over a second and would delay the start of training.


@dataclass(frozen=True)
class Scores:
    """The metrics of the predictions on a split.

    Attributes:
        metrics: metric name to finite value.
        undefined: names of the task's metrics that these rows do not define.
        per_class: label name to precision, recall, f1 and support (rows with the
            label). Also auroc, if some rows have the label and others do not.
            Multi-label: also average_precision. Empty for regression.
        confusion: number of rows by true (first axis) and predicted label [C, C];
            single-label only.
        majority: headline metrics of a constant predictor. It always predicts the most
            frequent label (single-label), the most frequent set of labels
            (multi-label) or the mean (regression) of the scored labels themselves.
    """

    metrics: dict[str, float]
    undefined: tuple[str, ...]
    per_class: PerClass = field(default_factory=dict)
    confusion: Integers | None = None
    majority: dict[str, float] = field(default_factory=dict)


def score(
    task: Task,
    logits: Logits,
    labels: Labels,
    names: Sequence[str],
    threshold: float = 0.5,
    distributions: Distributions | None = None,
) -> Scores:
    """Scores the outputs of a model on a split.

    Single-label metrics: loss (cross-entropy in nats), accuracy, macro_f1, micro_f1,
    weighted_f1, mcc, auroc (one class against the rest, averaged over the classes for
    which it is defined), ece, brier (squared distance from the one-hot label, summed
    over the classes: 0 to 2). With distributions: kl; loss and brier compare with them.

    Multi-label metrics: loss (binary cross-entropy in nats, mean over rows and
    labels), micro_f1, macro_f1, map (average precision, averaged over the labels that
    occur), subset_accuracy.

    Regression metrics: loss = mse, mae, pearson, spearman.

    Precision, recall and F1 follow scikit-learn: 0/0 is 0, and single-label macro
    averages include the classes that occur among labels or predictions. The MCC of a
    constant prediction is 0.

    Args:
        task: what a label is.
        logits: finite outputs [n, C]; regression [n] or [n, 1].
        labels: class ids [n], 0 and 1 [n, C], or values [n].
        names: names of the C classes, at least two for single_label; unused for
            regression.
        threshold: probability above which a label is predicted (multi-label).
        distributions: probabilities of the classes in the data [n, C] (single-label).
    """
    assert len(logits) == len(labels) > 0
    assert np.isfinite(logits).all()
    if task is Task.regression:
        predicted = probabilities(task, logits)[:, 0]
        return _regression(predicted, labels.astype(np.float64))
    assert logits.shape[1] == len(names)
    if task is Task.single_label:
        assert len(names) > 1
        return _single_label(logits, labels.astype(np.int64), names, distributions)
    assert len(names) > 0
    return _multi_label(
        logits,
        labels.astype(np.int64),
        names,
        threshold,
    )


def _single_label(
    logits: Logits,
    labels: Integers,
    names: Sequence[str],
    distributions: Distributions | None,
) -> Scores:
    from sklearn.metrics import accuracy_score, brier_score_loss, confusion_matrix

    classes = np.arange(len(names))
    values = probabilities(Task.single_label, logits)
    predicted = values.argmax(axis=1)
    is_true = labels[:, None] == classes
    is_predicted = predicted[:, None] == classes
    metrics = {
        "loss": mean_loss(Task.single_label, logits, labels),
        "accuracy": accuracy_score(labels, predicted),
        "macro_f1": f1(labels, predicted, "macro"),
        "micro_f1": f1(labels, predicted, "micro"),
        "weighted_f1": f1(labels, predicted, "weighted"),
        "mcc": mcc(labels, predicted),
        "ece": expected_calibration_error(values.max(axis=1), predicted == labels),
        "brier": brier_score_loss(labels, values, labels=classes, scale_by_half=False),
    }
    if distributions is not None:
        metrics |= _against_distributions(logits, values, labels, distributions)
    per_class = per_class_metrics(
        is_true,
        is_predicted,
        values,
        names,
    )
    metrics |= _auroc(per_class)
    most_frequent = np.bincount(labels).argmax()
    constant = np.full_like(labels, most_frequent)
    majority = {
        "accuracy": float(accuracy_score(labels, constant)),
        "macro_f1": f1(labels, constant, "macro"),
    }
    confusion = confusion_matrix(labels, predicted, labels=classes)
    expected = METRICS[Task.single_label]
    if distributions is not None:
        expected = DISTRIBUTION_METRICS
    defined, missing = _defined(expected, metrics)
    return Scores(
        defined,
        missing,
        per_class,
        confusion,
        majority,
    )


def _auroc(per_class: PerClass) -> dict[str, float]:
    aurocs = [row["auroc"] for row in per_class.values() if "auroc" in row]
    if not aurocs:
        return {}
    if len(per_class) == 2:
        # The second class is positive. Both areas are equal except for rounding.
        return {"auroc": aurocs[-1]}
    return {"auroc": float(np.mean(aurocs))}


def _against_distributions(
    logits: Logits, values: Floats, labels: Integers, distributions: Distributions
) -> dict[str, float]:
    """Computes loss, brier and kl from logits and probabilities [n, C]."""
    squares = np.square(values - normalised(distributions))
    return {
        "loss": mean_loss(Task.single_label, logits, labels, distributions),
        "brier": float(squares.sum(axis=1).mean()),
        "kl": float(divergences(logits, distributions).mean()),
    }


def _multi_label(
    logits: Logits,
    labels: Integers,
    names: Sequence[str],
    threshold: float,
) -> Scores:
    from sklearn.metrics import accuracy_score, average_precision_score

    predicted = probabilities(Task.multi_label, logits) > threshold
    metrics = {
        "loss": mean_loss(Task.multi_label, logits, labels),
        **micro_and_macro_f1(labels, predicted),
        "subset_accuracy": accuracy_score(labels, predicted),
    }
    # Rows are ranked by logits, because probabilities near 1 round to the same number.
    scores = logits.astype(np.float64)
    per_class = per_class_metrics(
        labels.astype(bool),
        predicted,
        scores,
        names,
    )
    precisions = []
    for column, name in enumerate(names):
        truth = labels[:, column]
        if truth.any():
            precision = average_precision_score(truth, scores[:, column])
            per_class[name]["average_precision"] = float(precision)
            precisions.append(float(precision))
    if precisions:
        metrics["map"] = np.mean(precisions)
    sets, counts = np.unique(labels, axis=0, return_counts=True)
    most_frequent = sets[counts.argmax()]
    constant = np.broadcast_to(most_frequent, labels.shape)
    majority = micro_and_macro_f1(labels, constant)
    defined, missing = _defined(METRICS[Task.multi_label], metrics)
    return Scores(defined, missing, per_class, majority=majority)


def _regression(predicted: Floats, labels: Floats) -> Scores:
    from scipy.stats import pearsonr, spearmanr
    from sklearn.metrics import mean_absolute_error, mean_squared_error

    mse = mean_squared_error(labels, predicted)
    mae = mean_absolute_error(labels, predicted)
    metrics = {"loss": mse, "mse": mse, "mae": mae}
    # The correlation with a constant is undefined.
    both_vary = np.ptp(labels) > 0 and np.ptp(predicted) > 0
    if both_vary:
        metrics["pearson"] = pearsonr(labels, predicted).statistic
        metrics["spearman"] = spearmanr(labels, predicted).statistic
    majority = {"mse": float(labels.var())}
    defined, missing = _defined(METRICS[Task.regression], metrics)
    return Scores(defined, missing, majority=majority)


def _defined(
    names: Sequence[str], metrics: dict[str, float]
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Returns the metrics in the order of the names, and the names without a value."""
    defined = {}
    missing = []
    for name in names:
        if name in metrics:
            defined[name] = float(metrics[name])
        else:
            missing.append(name)
    return defined, tuple(missing)
