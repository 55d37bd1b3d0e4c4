"""Plots of a comparison, as SVG text to be embedded in html."""

import io
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib import color_sequences
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import ColorType

from ostinato.comparison.configurations import Comparison, Configuration, Pair
from ostinato.scoring.plots import escape_dollars

_BLUE, _ORANGE, _RED = color_sequences["petroff10"][:3]


def scores(comparison: Comparison) -> str:
    """Draws every run as a point, with the mean and its interval below.

    Collapsed runs are crosses.
    """
    drawn = [c for c in comparison.configurations if c.summary is not None]
    figure, axes = _canvas(len(drawn), comparison.metric)
    names = []
    for row, configuration in enumerate(drawn):
        _draw_configuration(axes, row, configuration)
        names.append(configuration.name)
    _name_rows(axes, names)
    return _svg(figure)


def differences(comparison: Comparison) -> str:
    """Draws the paired differences to the baseline with their intervals.

    The margin is a grey band.
    """
    drawn = [pair for pair in comparison.against_baseline if pair.difference]
    label = f"{comparison.metric}: difference to {comparison.baseline}"
    figure, axes = _canvas(len(drawn), label)
    axes.axvline(0, color="0.3", linewidth=1)
    margin = comparison.margin
    if margin:
        axes.axvspan(-margin, margin, color="0.92", zorder=0)
    names = []
    for row, pair in enumerate(drawn):
        _draw_pair(axes, row, pair)
        names.append(pair.first)
    _name_rows(axes, names)
    return _svg(figure)


def _canvas(num_rows: int, label: str) -> tuple[Figure, Axes]:
    height = 1.1 + 0.5 * num_rows
    figure = Figure(figsize=(8.5, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(escape_dollars(label))
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure, axes


def _draw_configuration(
    axes: Axes,
    row: int,
    configuration: Configuration,
) -> None:
    sound = []
    collapsed = []
    for point in configuration.points:
        if point.score is None:
            continue
        if point.collapsed:
            collapsed.append(point.score)
        else:
            sound.append(point.score)
    _draw_points(axes, row, sound, "o", _BLUE)
    _draw_points(axes, row, collapsed, "x", _RED)
    summary = configuration.summary
    assert summary is not None
    height = row - 0.15
    axes.plot(
        summary.interval or (summary.mean, summary.mean),
        [height, height],
        color="0.2",
        linewidth=2,
    )
    axes.plot(
        summary.mean,
        height,
        "D",
        color="0.2",
        markersize=5,
    )


def _draw_points(
    axes: Axes,
    row: int,
    values: Sequence[float],
    marker: str,
    colour: ColorType,
) -> None:
    height = row + 0.12
    axes.plot(
        values,
        [height] * len(values),
        marker,
        color=colour,
        alpha=0.7,
        markersize=6,
        linestyle="none",
    )


def _draw_pair(
    axes: Axes,
    row: int,
    pair: Pair,
) -> None:
    difference = pair.difference
    assert difference is not None
    axes.plot(
        difference.interval or (difference.mean, difference.mean),
        [row, row],
        color=_ORANGE,
        linewidth=2.5,
    )
    axes.plot(
        difference.mean,
        row,
        "D",
        color=_ORANGE,
        markersize=6,
    )


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Writes a name beside each row; the first row is at the top."""
    ticks = [escape_dollars(name) for name in names]
    axes.set_yticks(range(len(names)), ticks)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _svg(figure: Figure) -> str:
    """Returns the SVG element without the XML prologue, for use inside html."""
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ostinato"}):
        figure.savefig(
            buffer,
            format="svg",
            metadata=no_metadata,
        )
    text = buffer.getvalue()
    start = text.index("<svg")
    return text[start:]
