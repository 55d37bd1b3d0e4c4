"""Converts a config to flat names, and a plot to pixels, as tracking services need."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

Scalar = bool | int | float | str


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Scalar]]:
    """Yields each scalar of a nested config as (dotted name, value).

    Lists and nulls are left out.

    Args:
        config: nested config.
        prefix: start of every name.
    """
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        elif isinstance(value, Scalar):
            yield f"{prefix}{name}", value


def image(plot: Figure) -> NDArray[np.uint8]:
    """Renders a plot as pixels [height, width, 4].

    W&B and DVCLive would use pyplot, which keeps global state.
    """
    canvas = FigureCanvasAgg(plot)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
