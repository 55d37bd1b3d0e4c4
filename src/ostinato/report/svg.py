"""Turns a matplotlib figure into SVG that takes its colours from the page.

One SVG fits light mode, dark mode and paper. Every id is made unique, because one page
holds many plots.
"""

import io
import re
from html import escape
from typing import Any

from matplotlib.figure import Figure

# Placeholders for the colours of the page while matplotlib draws.
INK, GRID, BLUE, ORANGE = "#010203", "#010204", "#010205", "#010206"
_PAGE_COLOURS = {
    INK: "var(--ink)",
    GRID: "var(--grid)",
    BLUE: "var(--a)",
    ORANGE: "var(--b)",
}

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ostinato",
    "font.size": 9,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}
"""Settings of matplotlib while a figure is drawn."""


def to_svg(figure: Figure, title: str) -> str:
    """SVG to insert into HTML, with unique ids and the colours of the page."""
    buffer = io.StringIO()
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=no_metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # SVG inside HTML needs no namespaces.
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = text.replace("xlink:href", "href")
    prefix = re.sub(r"\W+", "-", title).lower()
    text = re.sub(r'( id="|href="#|url\(#)', rf"\1{prefix}-", text)
    for placeholder, colour in _PAGE_COLOURS.items():
        text = text.replace(placeholder, colour)
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)
