"""A table of a report."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Column names and rows of formatted cells."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
