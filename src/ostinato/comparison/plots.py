"""Pictures of a comparison, as SVG text for a page that must stand alone. Computes nothing."""

import io
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib import color_sequences
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ostinato.comparison.configurations import Comparison, Configuration, Pair
from ostinato.redaction import plot_label

_BLUE, _ORANGE, _RED = color_sequences["petroff10"][:3]


def scores(comparison: Comparison) -> str:
    """Every run as a point, the mean and its interval beside; collapsed runs are crosses."""
    shown = [c for c in comparison.configurations if c.summary is not None]
    figure, axes = _canvas(len(shown), comparison.metric)
    for row, configuration in enumerate(shown):
        _strip(axes, row, configuration)
    _label(axes, [c.name for c in shown])
    return _svg(figure)


def differences(comparison: Comparison) -> str:
    """Paired differences to the baseline with their intervals, and the margin as a band."""
    shown = [
        pair for pair in comparison.against_baseline if pair.difference is not None
    ]
    figure, axes = _canvas(
        len(shown), f"{comparison.metric}: difference to {comparison.baseline}"
    )
    axes.axvline(0, color="0.3", linewidth=1)
    if comparison.margin:
        axes.axvspan(-comparison.margin, comparison.margin, color="0.92", zorder=0)
    for row, pair in enumerate(shown):
        _interval(axes, row, pair)
    _label(axes, [pair.first for pair in shown])
    return _svg(figure)


def _canvas(rows: int, label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8.5, 1.1 + 0.5 * rows), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(plot_label(label))
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure, axes


def _strip(axes: Axes, row: int, configuration: Configuration) -> None:
    for collapsed, marker, colour in ((False, "o", _BLUE), (True, "x", _RED)):
        values = [
            p.score
            for p in configuration.points
            if p.score is not None and p.collapsed is collapsed
        ]
        axes.plot(
            values,
            [row + 0.12] * len(values),
            marker,
            color=colour,
            alpha=0.7,
            markersize=6,
            linestyle="none",
        )
    assert configuration.summary is not None
    low, high = configuration.summary.interval or (configuration.summary.mean,) * 2
    axes.plot([low, high], [row - 0.15] * 2, color="0.2", linewidth=2)
    axes.plot(configuration.summary.mean, row - 0.15, "D", color="0.2", markersize=5)


def _interval(axes: Axes, row: int, pair: Pair) -> None:
    assert pair.difference is not None
    low, high = pair.difference.interval or (pair.difference.mean,) * 2
    axes.plot([low, high], [row, row], color=_ORANGE, linewidth=2.5)
    axes.plot(pair.difference.mean, row, "D", color=_ORANGE, markersize=6)


def _label(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [plot_label(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)  # the first on top


def _svg(figure: Figure) -> str:
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ostinato"}):
        buffer = io.StringIO()
        figure.savefig(
            buffer,
            format="svg",
            metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")),
        )
    text = buffer.getvalue()
    return text[text.index("<svg") :]  # without the XML prologue, to stand inside HTML
