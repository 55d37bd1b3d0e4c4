"""Lays out a confusion matrix for the template, from two classes to more than 100."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LETTER_WIDTH = 0.6  # as a share of the font size
_MAX_NAME_LENGTH = 30  # letters; the tooltip shows the whole name
_MIN_NUMBERED_SIDE = 22  # pixels; smaller cells show no numbers

# Number of classes up to which a layout is used: side of a cell, font size, in pixels.
_LAYOUTS = {8: (46, 13), 16: (32, 12), 30: (22, 11)}
_DENSEST_LAYOUT = (12, 10)


@dataclass(frozen=True)
class Cell:
    """Rows of one true class (`row`) and one predicted class (`column`).

    Attributes:
        row: number of the true class.
        column: number of the predicted class.
        num_rows: number of rows, at least 1.
        share: share of the rows of the true class.
        opacity: opacity of the colour.
    """

    row: int
    column: int
    num_rows: int
    share: float
    opacity: float


@dataclass(frozen=True)
class MatrixLayout:
    """A confusion matrix to draw, in pixels.

    Attributes:
        names: class names, shortened.
        full_names: class names.
        cells: cells that have rows.
        side: side of a cell.
        font: font size of the names.
        margin: space for the names, left and above.
        numbered: whether the numbers fit into the cells.
    """

    names: tuple[str, ...]
    full_names: tuple[str, ...]
    cells: tuple[Cell, ...]
    side: int
    font: int
    margin: int
    numbered: bool

    @property
    def size(self) -> int:
        """Width and height of the whole matrix."""
        return self.margin + self.side * len(self.names) + 4


def layout_matrix(confusion: NDArray[np.int64], names: Sequence[str]) -> MatrixLayout:
    """Lays out a confusion matrix.

    Args:
        confusion: number of rows by true and predicted class [C, C].
        names: names of the classes.
    """
    side, font = _cell_side_and_font(len(names))
    short_names = tuple(_shorten(name) for name in names)
    longest = max(map(len, short_names))
    num_digits = len(str(confusion.max()))
    digits_fit = num_digits * _LETTER_WIDTH * font < side
    return MatrixLayout(
        names=short_names,
        full_names=tuple(names),
        cells=tuple(_cells(confusion)),
        side=side,
        font=font,
        margin=int(longest * font * _LETTER_WIDTH) + 14,
        numbered=side >= _MIN_NUMBERED_SIDE and digits_fit,
    )


def _cell_side_and_font(num_classes: int) -> tuple[int, int]:
    for largest, layout in _LAYOUTS.items():
        if num_classes <= largest:
            return layout
    return _DENSEST_LAYOUT


def _shorten(name: str) -> str:
    if len(name) <= _MAX_NAME_LENGTH:
        return name
    return f"{name[: _MAX_NAME_LENGTH - 1]}…"


def _cells(confusion: NDArray[np.int64]) -> list[Cell]:
    row_sums = confusion.sum(axis=1, keepdims=True)
    shares = confusion / np.maximum(row_sums, 1)
    cells = []
    for row, column in zip(*np.nonzero(confusion), strict=True):
        share = float(shares[row, column])
        cell = Cell(
            row=int(row),
            column=int(column),
            num_rows=int(confusion[row, column]),
            share=share,
            # The square root makes a share of 1 % visible.
            opacity=float(np.sqrt(share)),
        )
        cells.append(cell)
    return cells


def most_frequent_confusions(
    confusion: NDArray[np.int64],
    names: Sequence[str],
    most: int = 12,
) -> list[tuple[str, str, int, float]]:
    """Finds the most frequent confusions.

    Args:
        confusion: number of rows by true and predicted class [C, C].
        names: names of the classes.
        most: maximum number of confusions.

    Returns:
        True class, predicted class, number of rows and share of the true class, most
        frequent first.
    """
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    found = []
    for position in order:
        true, predicted = divmod(int(position), len(names))
        num_rows = int(wrong[true, predicted])
        if num_rows:
            share = float(num_rows / confusion[true].sum())
            found.append((names[true], names[predicted], num_rows, share))
    return found
