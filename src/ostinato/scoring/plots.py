"""Plots of a model's metrics, as matplotlib figures without global state."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import color_sequences
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.typing import ColorType

from ostinato.redaction import plot_label
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


def _name_classes(
    axes: Axes,
    names: Sequence[str],
    font_size: float,
) -> None:
    """Writes class names beside the cells, and draws a grid between the cells."""
    size = len(names)
    ticks = [plot_label(name) for name in names]
    rotation = 0 if size <= 5 else 90
    axes.set_xticks(
        range(size),
        ticks,
        rotation=rotation,
        fontsize=font_size,
    )
    axes.set_yticks(range(size), ticks, fontsize=font_size)
    borders = np.arange(size - 1) + 0.5
    axes.set_xticks(borders, minor=True)
    axes.set_yticks(borders, minor=True)
    axes.grid(which="minor", color="0.85", linewidth=0.5)
    axes.tick_params(which="minor", length=0)


def _add_colour_bar(
    figure: Figure,
    axes: Axes,
    image: AxesImage,
) -> None:
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


def _write_numbers(
    axes: Axes,
    confusion: Integers,
    shares: Floats,
) -> None:
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


@dataclass(frozen=True)
class _Curve:
    """A precision-recall curve. The recall decreases along it."""

    precision: Floats
    recall: Floats

    @property
    def average_precision(self) -> float:
        """The area under the curve."""
        recall_steps = np.diff(self.recall)
        return -float(np.sum(recall_steps * self.precision[:-1]))

    def precision_at(self, recalls: Floats) -> Floats:
        """Returns the precision where each recall is first reached."""
        rising_recall = self.recall[::-1]
        positions = np.searchsorted(rising_recall, recalls)
        return self.precision[::-1][positions]


def pr_curves(
    scores: Floats,
    labels: Labels,
    names: Sequence[str],
) -> Figure:
    """Draws the precision-recall curve of each class against the rest.

    Of many classes, only the most frequent ones are drawn. A dashed curve is the mean
    over all classes that occur.

    Args:
        scores: probabilities, [num_rows, num_labels].
        labels: int64 [num_rows], or 0 and 1 [num_rows, num_labels].
        names: names of the classes.
    """
    truth = indicator(labels, len(names))
    drawn = most_frequent(truth)
    colours = dict(zip(drawn, _COLOURS, strict=False))
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.add_subplot()
    curves = []
    for number, name in enumerate(names):
        if not truth[:, number].any():
            continue
        curve = _curve(truth[:, number], scores[:, number])
        curves.append(curve)
        if number in colours:
            _draw_curve(axes, curve, name, colours[number])
    if curves:
        _draw_mean(axes, curves)
        _add_legend(figure, len(drawn), len(curves))
    axes.set(xlabel="recall", ylabel="precision")
    axes.set(xlim=(0, 1.01), ylim=(0, 1.01))
    axes.grid(alpha=0.3)
    return figure


def _curve(truth: Integers, scores: Floats) -> _Curve:
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(truth, scores)
    return _Curve(precision, recall)


def _draw_curve(axes: Axes, curve: _Curve, name: str, colour: ColorType) -> None:
    area = curve.average_precision
    axes.step(
        curve.recall,
        curve.precision,
        where="post",
        color=colour,
        label=f"{area:.3f}  {plot_label(name)}",
    )


def _draw_mean(axes: Axes, curves: Sequence[_Curve]) -> None:
    recalls = np.linspace(0, 1, 1001)
    areas = [curve.average_precision for curve in curves]
    precisions = [curve.precision_at(recalls) for curve in curves]
    axes.plot(
        recalls,
        np.mean(precisions, axis=0),
        "k--",
        linewidth=2,
        label=f"{np.mean(areas):.3f}  mean of {len(areas)}",
    )


def _add_legend(
    figure: Figure,
    num_drawn: int,
    num_classes: int,
) -> None:
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
