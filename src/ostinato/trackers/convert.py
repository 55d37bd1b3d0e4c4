"""What services want in another form: a config as one level of dotted names, a metric as pixels."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray


def flat(
    config: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, bool | int | float | str]]:
    """Each single value of a nested config as (dotted name, value); lists and nulls are left out."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        elif isinstance(value, bool | int | float | str):
            yield f"{prefix}{name}", value


def image(plot: Figure) -> NDArray[np.uint8]:
    """A metric as pixels [height, width, 4], without pyplot, which both W&B and DVCLive would ask for."""
    canvas = FigureCanvasAgg(plot)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
