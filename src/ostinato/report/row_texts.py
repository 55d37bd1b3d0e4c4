"""Reads the texts of rows."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ostinato.data.splits import Split

_ALL_ROWS = slice(None)


def row_texts(
    split: Split, rows: NDArray[np.int64] | slice = _ALL_ROWS
) -> Iterator[tuple[str, ...]]:
    """Yields the texts of each row: (text,) or (text, text_pair).

    Args:
        split: the rows.
        rows: row numbers from 0.
    """
    columns = ["text"]
    if "text_pair" in split.rows.column_names:
        columns.append("text_pair")
    selected = split.rows.select_columns(columns)[rows]
    return zip(*(selected[column] for column in columns), strict=True)
