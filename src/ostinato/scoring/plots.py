"""Plots of a model's metrics, as matplotlib figures without global state."""

from collections.abc import Sequence

import numpy as np
from matplotlib import color_sequences
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ostinato.scoring.arrays import Floats, Integers, Labels

MAX_CLASSES = 200
"""A confusion matrix of more classes is not drawn: its cells are below one pixel."""

_MAX_CURVES = 10
_MAX_NUMBERS = 20  # Numbers in the cells of more classes are not readable.
_COLOURS = color_sequences["petroff10"]  # ten colours, distinct for colour-blind people


def confusion_matrix(confusion: Integers, names: Sequence[str]) -> Figure:
    """Draws a confusion matrix.

    The colour is the share of the true class, and the numbers are rows.

    Args:
        confusion: number of rows by true (down) and predicted (across) class, [C, C].
        names: names of the C classes.
    """
    size = len(names)
    numbered = size <= _MAX_NUMBERS
    side: float
    font_size: float
    if numbered:
        side = 3.5 + 0.45 * size
        font_size = 9
    else:
        side = min(18.0, 4 + 0.17 * size)
        font_size = max(4, min(8, 500 / size))
    width = side + 0.8
    figure = Figure(figsize=(width, side), layout="constrained")
    axes = figure.add_subplot()
    row_sums = confusion.sum(axis=1, keepdims=True)
    shares = confusion / np.maximum(row_sums, 1)
    # The square root makes a share of 1 % visible.
    norm = PowerNorm(0.5, vmin=0, vmax=1)
    image = axes.imshow(shares, cmap="Blues", norm=norm)
    _name_classes(axes, names, font_size)
    axes.set(xlabel="predicted", ylabel="true")
    _add_colour_bar(figure, axes, image)
    if numbered:
        _write_numbers(axes, confusion, shares)
    return figure


def _name_classes(axes: Axes, names: Sequence[str], font_size: float) -> None:
    """Writes class names beside the cells, and draws a grid between the cells."""
    size = len(names)
    ticks = [escape_dollars(name) for name in names]
    rotation = 0 if size <= 5 else 90
    axes.set_xticks(range(size), ticks, rotation=rotation, fontsize=font_size)
    axes.set_yticks(range(size), ticks, fontsize=font_size)
    borders = np.arange(size - 1) + 0.5
    axes.set_xticks(borders, minor=True)
    axes.set_yticks(borders, minor=True)
    axes.grid(which="minor", color="0.85", linewidth=0.5)
    axes.tick_params(which="minor", length=0)


def _add_colour_bar(figure: Figure, axes: Axes, image: AxesImage) -> None:
    bar = figure.colorbar(
        image,
        ax=axes,
        shrink=0.8,
        aspect=30,
        pad=0.02,
        label="share of the true class",
    )
    bar.set_ticks(
        [0, 0.01, 0.05, 0.2, 0.5, 1],
        labels=["0", "1 %", "5 %", "20 %", "50 %", "100 %"],
    )


def _write_numbers(axes: Axes, confusion: Integers, shares: Floats) -> None:
    for true, predicted in np.argwhere(confusion):
        is_dark = shares[true, predicted] > 0.3
        num_rows = confusion[true, predicted]
        axes.text(
            predicted,
            true,
            str(num_rows),
            ha="center",
            va="center",
            color="white" if is_dark else "black",
            fontsize=8,
        )


def pr_curves(scores: Floats, labels: Labels, names: Sequence[str]) -> Figure:
    """Draws the precision-recall curve of each class against the rest.

    Of many classes, only the most frequent ones are drawn. A dashed curve is the mean
    over all classes that occur.

    Args:
        scores: probabilities, [num_rows, num_labels].
        labels: int64 [num_rows], or 0 and 1 [num_rows, num_labels].
        names: names of the classes.
    """
    from sklearn.metrics import precision_recall_curve

    truth = indicator(labels, len(names))
    colours = dict(zip(most_frequent(truth), _COLOURS, strict=False))
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.add_subplot()
    recall_grid = np.linspace(0, 1, 1001)
    areas = []
    curves = []
    for number, name in enumerate(names):
        if not truth[:, number].any():
            continue
        precision, recall, _ = precision_recall_curve(
            truth[:, number], scores[:, number]
        )
        recall_steps = np.diff(recall)
        average_precision = -np.sum(recall_steps * precision[:-1])
        areas.append(average_precision)
        # Recall decreases along the curve, so the curve is reversed. The precision is
        # taken where each recall of the grid is first reached.
        rising_recall = recall[::-1]
        positions = np.searchsorted(rising_recall, recall_grid)
        curves.append(precision[::-1][positions])
        if number in colours:
            label = f"{average_precision:.3f}  {escape_dollars(name)}"
            colour = colours[number]
            axes.step(recall, precision, where="post", color=colour, label=label)
    if areas:
        mean_area = np.mean(areas)
        label = f"{mean_area:.3f}  mean of {len(areas)}"
        mean_curve = np.mean(curves, axis=0)
        axes.plot(recall_grid, mean_curve, "k--", linewidth=2, label=label)
        _add_legend(figure, len(colours), len(areas))
    axes.set(xlabel="recall", ylabel="precision")
    axes.set(xlim=(0, 1.01), ylim=(0, 1.01))
    axes.grid(alpha=0.3)
    return figure


def _add_legend(figure: Figure, num_drawn: int, num_classes: int) -> None:
    which = "class"
    if num_drawn < num_classes:
        which = f"{num_drawn} most frequent classes"
    figure.legend(
        title=f"average precision, {which}",
        fontsize=8,
        loc="outside right upper",
        alignment="left",
    )


def indicator(labels: Labels, num_labels: int) -> Integers:
    """Returns labels as 0 and 1, [num_rows, num_labels]."""
    if labels.ndim == 1:
        labels = np.eye(num_labels)[labels]
    return labels.astype(np.int64)


def most_frequent(truth: Integers) -> list[int]:
    """Returns the numbers of the classes to draw: the most frequent ones that occur."""
    counts = truth.sum(axis=0)
    order = np.argsort(-counts, kind="stable")
    num_occurring = np.count_nonzero(counts)
    num_drawn = min(num_occurring, _MAX_CURVES)
    drawn: list[int] = order[:num_drawn].tolist()
    return drawn


def escape_dollars(text: str) -> str:
    """Escapes dollar signs, because matplotlib reads a formula between them."""
    return text.replace("$", r"\$")
