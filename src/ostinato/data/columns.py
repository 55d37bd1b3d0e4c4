"""Which columns are read, and a row of them. Knows nothing of files, and not what a text or a label may be."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ostinato.data.texts import shown
from ostinato.errors import DataError


class Row(NamedTuple):
    """A row as read.

    Attributes:
        where: its place as a user counts, from 1: "line 7".
        text: the text.
        pair: the second text; None where there is no such column.
        label: the label; None where no label is read.
        kept: further columns that the output repeats.
    """

    where: str
    text: Any
    pair: Any
    label: Any = None
    kept: dict[str, Any] = {}  # noqa: RUF012  (never changed)


@dataclass(frozen=True)
class Columns:
    """Names of the columns to read.

    Attributes:
        text: column with the text.
        pair: column with the second text.
        label: column with the label; None reads no labels.
        keep: further columns to read; None keeps all columns.
        prefix: how the config keys of these columns begin, for errors.
    """

    text: str
    pair: str | None
    label: str | None = None
    keep: tuple[str, ...] | None = field(default=())
    prefix: str = "data."

    @property
    def wanted(self) -> dict[str, str]:
        """Config key to column name; without the columns that are only kept."""
        keys = {
            "text_column": self.text,
            "text_pair_column": self.pair,
            "label_column": self.label,
        }
        return {
            self.prefix + key: name for key, name in keys.items() if name is not None
        }

    @property
    def names(self) -> list[str] | None:
        """The columns to read, each once; None for all."""
        return (
            None
            if self.keep is None
            else list(dict.fromkeys([*self.wanted.values(), *self.keep]))
        )

    def check(self, present: Sequence[str], where: str, hint: str = "") -> None:
        """Raises DataError when `present` lacks a column or has it twice; `hint` ends the line."""
        named = [
            *self.wanted.items(),
            *(("keep", name) for name in (present if self.keep is None else self.keep)),
        ]
        for key, name in named:
            if name not in present:
                near = difflib.get_close_matches(name.lower(), present, n=1)
                guess = f"; did you mean {key}={_plain(near[0])}?" if near else ""
                columns = ", ".join(map(_plain, present[:20])) + (
                    ", ..." if len(present) > 20 else ""
                )
                raise DataError(
                    f"{where}: no column {shown(name)} ({key}); the columns are {columns}{guess}{hint}"
                )
            if present.count(name) > 1:
                raise DataError(
                    f"{where}: column {shown(name)} is there {present.count(name)} times; rename all but one"
                )

    def row(self, where: str, values: dict[str, Any]) -> Row:
        """Picks the wanted values of a row."""
        return Row(
            where=where,
            text=values[self.text],
            pair=values[self.pair] if self.pair is not None else None,
            label=values[self.label] if self.label is not None else None,
            kept=values
            if self.keep is None
            else {name: values[name] for name in self.keep},
        )


def _plain(name: str) -> str:
    """The name, quoted only where a terminal cannot show it."""
    return name if name.isprintable() and len(name) <= 100 else shown(name)
