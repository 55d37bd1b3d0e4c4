"""Pictures of a report, as SVG text that takes its colours from the page: one picture for light, dark and paper.

Computes curves only. Every id is made unique, since many pictures stand in one page.
"""

import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ostinato.redaction import plot_label
from ostinato.scoring.arrays import Floats
from ostinato.scoring.calibration_error import NUM_BINS, confidence_bins
from ostinato.trackers.history import Point

_MAX_POINTS = 2000  # of a scatter plot

# Stand for the page's own colours while matplotlib draws.
_INK, _GRID, _A, _B = "#010203", "#010204", "#010205", "#010206"
_VARIABLES = {_INK: "var(--ink)", _GRID: "var(--grid)", _A: "var(--a)", _B: "var(--b)"}
_MARGINS = {
    "left": 0.15,
    "right": 0.96,
    "top": 0.9,
    "bottom": 0.18,
}  # to measure them would double the time
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ostinato",
    "font.size": 9,
    "font.family": "sans-serif",
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}


def curves(
    title: str,
    metrics: Mapping[str, Sequence[Point]],
    best_step: int | None,
    log: bool = False,
) -> str:
    """Draws one or two logged figures over steps; the step of the best weights is marked."""
    with mpl.rc_context(_STYLE):
        figure, axes = _canvas(title, "step")
        for (name, points), colour in zip(metrics.items(), (_A, _B), strict=False):
            steps, values = (
                [point["step"] for point in points],
                [point["value"] for point in points],
            )
            marker = "o" if len(points) < 25 else ""
            axes.plot(
                steps,
                values,
                color=colour,
                marker=marker,
                markersize=3.5,
                linewidth=1.5,
                label=plot_label(name),
            )
        if best_step is not None:
            axes.axvline(
                best_step,
                color=_INK,
                linewidth=0.8,
                linestyle=":",
                label="best weights",
            )
        if log:
            axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.legend(fontsize=8, loc="best")
        return _svg(figure, title)


def reliability(title: str, confidence: Floats, correct: NDArray[Any]) -> str:
    """Draws how often predictions of each confidence come true; bars below show how many there are."""
    bins = confidence_bins(confidence)
    counts = np.bincount(bins, minlength=NUM_BINS)
    there = counts > 0
    means = [
        np.bincount(bins, weights=side, minlength=NUM_BINS)[there] / counts[there]
        for side in (confidence, correct)
    ]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.2, 3.6), facecolor="none")
        margins = _MARGINS | {"top": 0.93, "bottom": 0.12, "hspace": 0.12}
        axes, below = figure.subplots(
            2, sharex=True, height_ratios=(4, 1), gridspec_kw=margins
        )
        axes.plot(
            [0, 1], [0, 1], color=_INK, linewidth=0.8, linestyle=":", label="honest"
        )
        axes.plot(
            means[0],
            means[1],
            color=_A,
            marker="o",
            markersize=4,
            linewidth=1.5,
            label="the model",
        )
        axes.vlines(
            means[0], means[0], means[1], color=_B, linewidth=3, alpha=0.7, label="gap"
        )
        axes.set(title=title, ylabel="share that is true", ylim=(-0.02, 1.02))
        axes.legend(fontsize=8, loc="lower right")
        below.bar(
            (np.arange(NUM_BINS) + 0.5) / NUM_BINS,
            counts,
            width=0.9 / NUM_BINS,
            color=_A,
        )
        below.set(
            xlabel="probability that the model gives", ylabel="number", xlim=(0, 1)
        )
        below.yaxis.set_major_locator(MaxNLocator(nbins=2, integer=True))
        for part in (axes, below):
            part.grid(alpha=0.7)
        return _svg(figure, title)


def scatter(title: str, labels: NDArray[Any], predicted: Floats) -> str:
    """Draws predicted over true values."""
    shown = np.linspace(0, len(labels) - 1, min(len(labels), _MAX_POINTS)).astype(int)
    ends = [min(labels.min(), predicted.min()), max(labels.max(), predicted.max())]
    with mpl.rc_context(_STYLE):
        figure, axes = _canvas(title, "true value")
        axes.plot(ends, ends, color=_INK, linewidth=0.8, linestyle=":")
        axes.plot(
            labels[shown], predicted[shown], "o", color=_A, markersize=3.5, alpha=0.5
        )
        axes.set(ylabel="predicted value")
        return _svg(figure, title)


def residuals(title: str, errors: Floats) -> str:
    """Draws how predicted minus true values are distributed."""
    with mpl.rc_context(_STYLE):
        figure, axes = _canvas(title, "predicted - true")
        axes.hist(errors, bins="auto" if len(errors) < 10_000 else 60, color=_A)
        axes.axvline(0, color=_INK, linewidth=0.8, linestyle=":")
        axes.set(ylabel="rows")
        return _svg(figure, title)


def _canvas(title: str, label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.2, 2.7), facecolor="none")
    axes = figure.subplots(gridspec_kw=_MARGINS)
    axes.set(title=plot_label(title), xlabel=label)
    axes.grid(alpha=0.7)
    return figure, axes


def _svg(figure: Figure, title: str) -> str:
    buffer = io.StringIO()
    figure.savefig(
        buffer,
        format="svg",
        metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
    )
    text = buffer.getvalue()
    text = re.sub(
        r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL
    )
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text).replace(
        "xlink:href", "href"
    )  # HTML knows what svg is
    prefix = re.sub(r"\W+", "-", title).lower()
    text = re.sub(r'( id="|href="#|url\(#)', rf"\1{prefix}-", text)
    for stand_in, variable in _VARIABLES.items():
        text = text.replace(stand_in, variable)
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)
