"""What the metrics have in common: names, directions, probabilities and losses.

Everything is computed in float64 and over all rows at once.
"""

import numpy as np
from scipy.special import expit, log_expit, logsumexp, softmax

from ostinato.config import Task
from ostinato.scoring.arrays import Floats, Labels, Logits

MINIMISED = frozenset({"loss", "mse", "mae", "ece", "brier"})
"""Names of the metrics for which lower is better."""

_MONITOR = {
    Task.single_label: "accuracy",
    Task.multi_label: "micro_f1",
    Task.regression: "mse",
}


def default_monitor(task: Task) -> str:
    """Returns the metric that chooses the best weights if the user names none.

    This metric is always defined.
    """
    return _MONITOR[task]


def undefined(task: Task, labels: Labels) -> tuple[str, ...]:
    """Returns the metrics that are undefined for these labels, with any predictions.

    Args:
        task: what a label is.
        labels: class ids [n], 0 and 1 [n, C], or values [n].
    """
    if task is Task.multi_label:
        return () if labels.any() else ("map",)
    is_constant = np.ptp(labels) == 0
    if not is_constant:
        return ()
    if task is Task.single_label:
        return ("auroc",)
    return ("pearson", "spearman")


def is_better(
    name: str,
    new: float,
    old: float,
    min_delta: float = 0.0,
) -> bool:
    """Returns whether a metric improved, and by at least `min_delta`."""
    gain = new - old
    if name in MINIMISED:
        gain = old - new
    return gain > 0 and gain >= min_delta


def probabilities(task: Task, logits: Logits) -> Floats:
    """Converts logits to probabilities: softmax, or one sigmoid per label.

    For regression, the values stay as they are.

    Args:
        task: what a label is.
        logits: outputs [n, C]; regression [n] or [n, 1].

    Returns:
        Probabilities [n, C]; regression: values [n, 1].
    """
    values: Floats = logits.astype(np.float64)
    values = values.reshape(len(values), -1)
    if task is Task.single_label:
        values = softmax(values, axis=1)
    elif task is Task.multi_label:
        values = expit(values)
    return values


def row_losses(
    task: Task,
    logits: Logits,
    labels: Labels,
) -> Floats:
    """Computes the negative log-likelihood of each row, in nats.

    Multi-label: the mean over the labels of the row. The losses are computed from
    differences of logits, because a small loss would otherwise round to 0.

    Args:
        task: single_label or multi_label.
        logits: finite outputs [n, C].
        labels: class ids [n], or 0 and 1 [n, C].

    Returns:
        Losses [n].
    """
    scores = logits.astype(np.float64)
    losses: Floats
    if task is Task.single_label:
        rows = np.arange(len(labels))
        true_scores = scores[rows, labels]
        differences = scores - true_scores[:, None]
        losses = logsumexp(differences, axis=1)
    else:
        signed = np.where(labels > 0, scores, -scores)
        losses = -log_expit(signed).mean(axis=1)
    return losses


def mean_loss(
    task: Task,
    logits: Logits,
    labels: Labels,
) -> float:
    """Computes the mean of `row_losses`."""
    losses = row_losses(task, logits, labels)
    return float(losses.mean())
