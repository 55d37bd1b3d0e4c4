"""A confusion matrix as shapes that the template draws; readable from two classes to a hundred and more."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LETTER = 0.6  # width of a letter, as a share of the font's size
_LONGEST = 30  # letters of a class name; the whole name shows under the pointer


@dataclass(frozen=True)
class Cell:
    """Rows of one true and one predicted class; only cells with rows are drawn."""

    row: int
    column: int
    num_rows: int
    share: float
    opacity: float


@dataclass(frozen=True)
class Matrix:
    """What to draw, in pixels.

    Attributes:
        names: class names, shortened.
        whole: class names.
        cells: those with rows.
        side: of a cell.
        font: size of the names.
        margin: room for the names, left and above.
        numbered: whether numbers fit into the cells.
    """

    names: tuple[str, ...]
    whole: tuple[str, ...]
    cells: tuple[Cell, ...]
    side: int
    font: int
    margin: int
    numbered: bool

    @property
    def size(self) -> int:
        """Width and height of the picture."""
        return self.margin + self.side * len(self.names) + 4


def matrix(confusion: NDArray[np.int64], names: Sequence[str]) -> Matrix:
    """Lays out rows by true (down) and predicted (across) class [C, C]."""
    size = len(names)
    side, font = next(
        layout
        for most, layout in (
            (8, (46, 13)),
            (16, (32, 12)),
            (30, (22, 11)),
            (10**9, (12, 10)),
        )
        if size <= most
    )
    short = tuple(
        name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in names
    )
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    cells = tuple(
        # The square root lets a confusion of 1 % show.
        Cell(
            int(row),
            int(column),
            int(confusion[row, column]),
            float(shares[row, column]),
            float(np.sqrt(shares[row, column])),
        )
        for row, column in zip(*np.nonzero(confusion), strict=True)
    )
    digits = len(str(confusion.max()))
    return Matrix(
        names=short,
        whole=tuple(names),
        cells=cells,
        side=side,
        font=font,
        margin=int(max(map(len, short)) * font * _LETTER) + 14,
        numbered=side >= 22 and digits * _LETTER * font < side,
    )


def confusions(
    confusion: NDArray[np.int64], names: Sequence[str], most: int = 12
) -> list[tuple[str, str, int, float]]:
    """The most frequent confusions: true class, predicted class, rows, share of the true class."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = (divmod(int(cell), len(names)) for cell in order)
    return [
        (
            names[true],
            names[predicted],
            int(wrong[true, predicted]),
            float(wrong[true, predicted] / confusion[true].sum()),
        )
        for true, predicted in pairs
        if wrong[true, predicted]
    ]
