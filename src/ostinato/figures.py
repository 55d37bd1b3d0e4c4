"""Pictures of a model's figures, as matplotlib figures without global state. Computes curves, no figures of its own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

_MAX_CURVES = 10
_MAX_NUMBERS = 20  # above this many classes, numbers in cells are not readable


def confusion_matrix(confusion: NDArray[np.int64], names: Sequence[str]) -> Figure:
    """Draws a confusion matrix: colour is the share of the true class, numbers are rows.

    Args:
        confusion: rows of each true (down) and predicted (across) class, [num_labels, num_labels].
        names: class names by number.
    """
    size = len(names)
    side = min(18.0, 3.5 + 0.45 * size) if size <= _MAX_NUMBERS else min(18.0, 4 + 0.17 * size)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.add_subplot()
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    font = 9 if size <= _MAX_NUMBERS else max(4, min(8, 500 / size))
    axes.set_xticks(range(size), names, rotation=90 if size > 5 else 0, fontsize=font)
    axes.set_yticks(range(size), names, fontsize=font)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    if size <= _MAX_NUMBERS:
        for true, predicted in zip(*np.nonzero(confusion), strict=True):
            colour = "white" if shares[true, predicted] > 0.5 else "black"
            axes.text(predicted, true, str(confusion[true, predicted]), ha="center", va="center", color=colour, fontsize=8)
    return figure


def pr_curves(scores: NDArray[np.float64], labels: NDArray[Any], names: Sequence[str]) -> Figure:
    """Draws precision over recall, each class against the rest; the most frequent classes if there are many.

    Args:
        scores: probabilities, [num_rows, num_labels].
        labels: int64 [num_rows], or 0 and 1 [num_rows, num_labels].
        names: class names by number.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve

    truth = indicator(labels, len(names))
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.add_subplot()
    shown = most_frequent(truth)
    for colour, number in enumerate(shown):
        precision, recall, _ = precision_recall_curve(truth[:, number], scores[:, number])
        area = average_precision_score(truth[:, number], scores[:, number])
        axes.step(recall, precision, where="post", color=f"C{colour}", label=f"{names[number]} ({area:.3f})")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.01))
    title = "class (average precision)" if len(shown) == len(names) else f"{len(shown)} most frequent (average precision)"
    axes.legend(title=title, fontsize=8, loc="lower left")
    axes.grid(alpha=0.3)
    return figure


def indicator(labels: NDArray[Any], num_labels: int) -> NDArray[np.int64]:
    """Labels as 0 and 1, [num_rows, num_labels]."""
    return (np.eye(num_labels)[labels] if labels.ndim == 1 else labels).astype(np.int64)


def most_frequent(truth: NDArray[np.int64]) -> list[int]:
    """Numbers of the classes to draw: those that occur, the most frequent first."""
    counts = truth.sum(axis=0)
    return [int(n) for n in np.argsort(-counts, kind="stable")[:_MAX_CURVES] if counts[n] > 0]
