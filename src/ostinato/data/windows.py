"""Rows that consist of windows of a long text."""

from dataclasses import dataclass

import torch

WINDOW_LENGTHS = "window_lengths"
"""Column with the tokens of each window of a row."""

_Rows = dict[str, list[list[int]]]


@dataclass(frozen=True)
class Windows:
    """Which texts of a batch are windows of the same row.

    Attributes:
        counts: windows of each row; they follow one another.
    """

    counts: tuple[int, ...]

    def to(self, device: torch.device) -> "Windows":
        """Returns itself; there is nothing to copy to a device."""
        return self


def split_windows(rows: _Rows) -> tuple[_Rows, Windows | None]:
    """Makes each window a row of its own.

    Args:
        rows: for each column, one list of integers per row.

    Returns:
        The columns of the windows; the same columns and None if there are no windows.
    """
    if WINDOW_LENGTHS not in rows:
        return rows, None
    lengths = rows[WINDOW_LENGTHS]
    columns: _Rows = {}
    for name, lists in rows.items():
        if name != WINDOW_LENGTHS:
            columns[name] = []
            for values, sizes in zip(lists, lengths, strict=True):
                columns[name] += _cut(values, sizes)
    return columns, Windows(tuple(map(len, lengths)))


def _cut(values: list[int], sizes: list[int]) -> list[list[int]]:
    parts = []
    start = 0
    for size in sizes:
        parts.append(values[start : start + size])
        start += size
    return parts
