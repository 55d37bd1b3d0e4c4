"""Draws the plots of a report as SVG."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ostinato.redaction import plot_label
from ostinato.report.svg import BLUE, INK, ORANGE, STYLE, to_svg
from ostinato.scoring.arrays import Floats
from ostinato.scoring.calibration_error import NUM_BINS, confidence_bins
from ostinato.trackers.history import Point

_MAX_POINTS = 2000  # of a scatter plot
_MAX_MARKED_POINTS = 25  # a curve with fewer points has a marker at each

# Fixed, because measuring the margins would double the time.
_MARGINS = {"left": 0.15, "right": 0.96, "top": 0.9, "bottom": 0.18}

_DOTTED: dict[str, Any] = {"color": INK, "linewidth": 0.8, "linestyle": ":"}


def curves(
    title: str,
    metrics: Mapping[str, Sequence[Point]],
    best_step: int | None,
    log: bool = False,
) -> str:
    """Draws logged metrics over steps, and marks the step of the best weights.

    Args:
        title: title of the plot.
        metrics: logged points by name; one or two metrics.
        best_step: step of the best weights; None marks nothing.
        log: whether the y axis is logarithmic.
    """
    with mpl.rc_context(STYLE):
        figure, axes = _figure(title, "step")
        for (name, points), colour in zip(
            metrics.items(), (BLUE, ORANGE), strict=False
        ):
            axes.plot(
                [point["step"] for point in points],
                [point["value"] for point in points],
                color=colour,
                marker="o" if len(points) < _MAX_MARKED_POINTS else "",
                markersize=3.5,
                linewidth=1.5,
                label=plot_label(name),
            )
        if best_step is not None:
            axes.axvline(best_step, label="best weights", **_DOTTED)
        if log:
            axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.legend(fontsize=8, loc="best")
        return to_svg(figure, title)


def reliability(
    title: str,
    confidence: Floats,
    correct: NDArray[Any],
) -> str:
    """Draws a reliability diagram: observed frequency over predicted probability.

    Bars below show the number of predictions in each bin.

    Args:
        title: title of the plot.
        confidence: predicted probabilities [n].
        correct: whether each prediction is correct [n].
    """
    bins = confidence_bins(confidence)
    counts = np.bincount(bins, minlength=NUM_BINS)
    used = counts > 0
    sums = np.bincount(bins, weights=confidence, minlength=NUM_BINS)
    predicted = sums[used] / counts[used]
    sums = np.bincount(bins, weights=correct, minlength=NUM_BINS)
    observed = sums[used] / counts[used]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.2, 3.6), facecolor="none")
        margins = _MARGINS | {"top": 0.93, "bottom": 0.12, "hspace": 0.12}
        axes, below = figure.subplots(
            2,
            sharex=True,
            height_ratios=(4, 1),
            gridspec_kw=margins,
        )
        _draw_reliability(axes, predicted, observed)
        axes.set(title=title)
        _draw_counts(below, counts)
        for part in (axes, below):
            part.grid(alpha=0.7)
        return to_svg(figure, title)


def _draw_reliability(
    axes: Axes,
    predicted: Floats,
    observed: Floats,
) -> None:
    axes.plot([0, 1], [0, 1], label="perfect calibration", **_DOTTED)
    axes.plot(
        predicted,
        observed,
        color=BLUE,
        marker="o",
        markersize=4,
        linewidth=1.5,
        label="model",
    )
    axes.vlines(
        predicted,
        predicted,
        observed,
        color=ORANGE,
        linewidth=3,
        alpha=0.7,
        label="gap",
    )
    axes.set(ylabel="observed frequency", ylim=(-0.02, 1.02))
    axes.legend(fontsize=8, loc="lower right")


def _draw_counts(axes: Axes, counts: NDArray[Any]) -> None:
    centres = (np.arange(NUM_BINS) + 0.5) / NUM_BINS
    axes.bar(centres, counts, width=0.9 / NUM_BINS, color=BLUE)
    axes.set(xlabel="predicted probability", ylabel="count", xlim=(0, 1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=2, integer=True))


def scatter(
    title: str,
    labels: NDArray[Any],
    predicted: Floats,
) -> str:
    """Draws predicted values over true values; at most 2,000 points.

    Args:
        title: title of the plot.
        labels: true values [n].
        predicted: predicted values [n].
    """
    num_shown = min(len(labels), _MAX_POINTS)
    shown = np.linspace(0, len(labels) - 1, num_shown).astype(int)
    lowest = min(labels.min(), predicted.min())
    highest = max(labels.max(), predicted.max())
    with mpl.rc_context(STYLE):
        figure, axes = _figure(title, "true value")
        axes.plot([lowest, highest], [lowest, highest], **_DOTTED)
        axes.plot(
            labels[shown],
            predicted[shown],
            "o",
            color=BLUE,
            markersize=3.5,
            alpha=0.5,
        )
        axes.set(ylabel="predicted value")
        return to_svg(figure, title)


def residuals(title: str, errors: Floats) -> str:
    """Draws the distribution of the errors.

    Args:
        title: title of the plot.
        errors: predicted minus true values [n].
    """
    with mpl.rc_context(STYLE):
        figure, axes = _figure(title, "predicted - true")
        axes.hist(errors, bins="auto" if len(errors) < 10_000 else 60, color=BLUE)
        axes.axvline(0, **_DOTTED)
        axes.set(ylabel="rows")
        return to_svg(figure, title)


def _figure(title: str, label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.2, 2.7), facecolor="none")
    axes = figure.subplots(gridspec_kw=_MARGINS)
    axes.set(title=plot_label(title), xlabel=label)
    axes.grid(alpha=0.7)
    return figure, axes
