"""Pictures of a model's figures, as matplotlib figures without global state. Computes curves, no figures of its own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import color_sequences
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ostinato.redaction import plot_label

_MAX_CURVES = 10
_MAX_NUMBERS = 20  # above this many classes, numbers in cells are not readable
MAX_CLASSES = 200
"""Above this many classes a confusion matrix is not drawn: its cells are smaller than a pixel."""
_COLOURS = color_sequences["petroff10"]  # ten that stay apart for the colour-blind


def confusion_matrix(confusion: NDArray[np.int64], names: Sequence[str]) -> Figure:
    """Draws a confusion matrix: colour is the share of the true class, numbers are rows.

    Args:
        confusion: rows of each true (down) and predicted (across) class, [num_labels, num_labels].
        names: class names by number.
    """
    size = len(names)
    numbered = size <= _MAX_NUMBERS
    side = 3.5 + 0.45 * size if numbered else min(18.0, 4 + 0.17 * size)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.add_subplot()
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    # The square root shows a share of 1 %: confusions are the point, and the diagonal is dark anyway.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
    font = 9 if numbered else max(4, min(8, 500 / size))
    ticks = [plot_label(name) for name in names]
    axes.set_xticks(range(size), ticks, rotation=0 if size <= 5 else 90, fontsize=font)
    axes.set_yticks(range(size), ticks, fontsize=font)
    axes.set_xticks(np.arange(size - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(size - 1) + 0.5, minor=True)
    axes.grid(
        which="minor", color="0.85", linewidth=0.5
    )  # leads the eye from a cell to its names
    axes.tick_params(which="minor", length=0)
    axes.set(xlabel="predicted", ylabel="true")
    colours = figure.colorbar(
        image, ax=axes, shrink=0.8, aspect=30, pad=0.02, label="share of the true class"
    )
    colours.set_ticks(
        [0, 0.01, 0.05, 0.2, 0.5, 1],
        labels=["0", "1 %", "5 %", "20 %", "50 %", "100 %"],
    )
    if numbered:
        for true, predicted in zip(*np.nonzero(confusion), strict=True):
            ink = "white" if shares[true, predicted] > 0.3 else "black"
            axes.text(
                predicted,
                true,
                str(confusion[true, predicted]),
                ha="center",
                va="center",
                color=ink,
                fontsize=8,
            )
    return figure


def pr_curves(
    scores: NDArray[np.float64], labels: NDArray[Any], names: Sequence[str]
) -> Figure:
    """Draws precision over recall, each class against the rest (the most frequent, if many), and the mean of all.

    Args:
        scores: probabilities, [num_rows, num_labels].
        labels: int64 [num_rows], or 0 and 1 [num_rows, num_labels].
        names: class names by number.
    """
    from sklearn.metrics import precision_recall_curve

    truth = indicator(labels, len(names))
    shown = dict(zip(most_frequent(truth), _COLOURS, strict=False))
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.add_subplot()
    grid = np.linspace(0, 1, 1001)
    areas, heights = [], []
    for number in (n for n in range(len(names)) if truth[:, n].any()):
        precision, recall, _ = precision_recall_curve(
            truth[:, number], scores[:, number]
        )
        areas.append(-np.sum(np.diff(recall) * precision[:-1]))  # average precision
        # Recall falls along the curve: read it backwards, and take the precision where each recall is first reached.
        heights.append(precision[::-1][np.searchsorted(recall[::-1], grid)])
        if number in shown:
            label = f"{areas[-1]:.3f}  {plot_label(names[number])}"
            axes.step(recall, precision, where="post", color=shown[number], label=label)
    if areas:
        label = f"{np.mean(areas):.3f}  mean of {len(areas)}"
        axes.plot(
            grid,
            np.mean(heights, axis=0),
            color="black",
            linewidth=2,
            linestyle="--",
            label=label,
        )
        which = (
            "class"
            if len(shown) == len(areas)
            else f"{len(shown)} most frequent classes"
        )
        figure.legend(
            title=f"average precision, {which}",
            fontsize=8,
            loc="outside right upper",
            alignment="left",
        )
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.01))
    axes.grid(alpha=0.3)
    return figure


def indicator(labels: NDArray[Any], num_labels: int) -> NDArray[np.int64]:
    """Labels as 0 and 1, [num_rows, num_labels]."""
    return (np.eye(num_labels)[labels] if labels.ndim == 1 else labels).astype(np.int64)


def most_frequent(truth: NDArray[np.int64]) -> list[int]:
    """Numbers of the classes to draw: those that occur, the most frequent first."""
    counts = truth.sum(axis=0)
    return [
        int(n)
        for n in np.argsort(-counts, kind="stable")[:_MAX_CURVES]
        if counts[n] > 0
    ]
