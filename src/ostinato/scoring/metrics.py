"""What the metrics have in common: names, directions, probabilities and losses.

Everything is computed in float64 and over all rows at once.
"""

import numpy as np
from scipy.special import expit, log_expit, log_softmax, logsumexp, softmax, xlogy

from ostinato.config import Task
from ostinato.scoring.arrays import Distributions, Floats, Integers, Labels, Logits

MINIMISED = frozenset({"loss", "mse", "mae", "ece", "brier", "kl"})
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
    distributions: Distributions | None = None,
) -> Floats:
    """Computes the negative log-likelihood of each row, in nats.

    Multi-label: the mean over the labels of the row. The losses are computed from
    differences of logits, because a small loss would otherwise round to 0.

    Args:
        task: single_label or multi_label.
        logits: finite outputs [n, C].
        labels: class ids [n], or 0 and 1 [n, C].
        distributions: probabilities of the classes [n, C], in place of class ids. The
            loss is then the cross-entropy.

    Returns:
        Losses [n].
    """
    scores = logits.astype(np.float64)
    losses: Floats
    if task is Task.single_label:
        true_scores = expected_scores(scores, labels, distributions)
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
    distributions: Distributions | None = None,
) -> float:
    """Computes the mean of `row_losses`."""
    losses = row_losses(task, logits, labels, distributions)
    return float(losses.mean())


def expected_scores(
    scores: Floats, labels: Integers, distributions: Distributions | None
) -> Floats:
    """Returns the score of each row's class, or the mean score of its distribution.

    Args:
        scores: [n, C].
        labels: class ids [n].
        distributions: probabilities of the classes [n, C]; None takes the class ids.
    """
    if distributions is None:
        return scores[np.arange(len(labels)), labels]
    means: Floats = (normalised(distributions) * scores).sum(axis=1)
    return means


def normalised(distributions: Distributions) -> Floats:
    """Converts probabilities [n, C] to float64, in which they sum to 1 again."""
    values: Floats = distributions.astype(np.float64)
    values /= values.sum(axis=1, keepdims=True)
    return values


def divergences(logits: Logits, distributions: Distributions) -> Floats:
    """Computes the KL divergence of each row's probabilities from its distribution.

    Args:
        logits: finite outputs [n, C].
        distributions: probabilities of the classes in the data [n, C].

    Returns:
        Divergences in nats [n].
    """
    true = normalised(distributions)
    predicted = log_softmax(logits.astype(np.float64), axis=1)
    terms = xlogy(true, true) - true * predicted
    # It is never negative, but its rounding error can be.
    values: Floats = np.maximum(terms.sum(axis=1), 0)
    return values
