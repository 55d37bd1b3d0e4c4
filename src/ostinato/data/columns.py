"""Names the columns to read and picks them from a row."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ostinato.data.texts import shown
from ostinato.errors import DataError

_MOST_SHOWN = 20
_LONGEST_SHOWN = 100


class Row(NamedTuple):
    """A row as read.

    Attributes:
        where: its place as a user counts, from 1: "line 7".
        text: the text.
        pair: the second text; None if there is no such column.
        label: the label; None if no label is read.
        kept: further columns that the output repeats.
        weight: the weight in the loss; None if no weights are read.
    """

    where: str
    text: Any
    pair: Any
    label: Any = None
    kept: dict[str, Any] = {}  # noqa: RUF012  (never changed)
    weight: Any = None


@dataclass(frozen=True)
class Columns:
    """Names of the columns to read.

    Attributes:
        text: column with the text.
        pair: column with the second text; None if there is none.
        label: column with the label; None reads no labels.
        keep: further columns to read; None keeps all columns.
        prefix: prefix of the config keys of these columns, for errors.
        weight: column with the weight of the row; None reads no weights.
        distribution: maps each label to the column with its probability. The label of a
            row is then the list of these probabilities.
    """

    text: str
    pair: str | None
    label: str | None = None
    keep: tuple[str, ...] | None = field(default=())
    prefix: str = "data."
    weight: str | None = None
    distribution: Mapping[str, str] = field(default_factory=dict)

    @property
    def wanted(self) -> dict[str, str]:
        """Maps config keys to column names, without the columns of `keep`."""
        columns = {f"{self.prefix}text_column": self.text}
        if self.pair is not None:
            columns[f"{self.prefix}text_pair_column"] = self.pair
        if self.label is not None:
            columns[f"{self.prefix}label_column"] = self.label
        if self.weight is not None:
            columns[f"{self.prefix}weight_column"] = self.weight
        for label, name in self.distribution.items():
            columns[f"{self.prefix}label_distribution.{label}"] = name
        return columns

    @property
    def names(self) -> list[str] | None:
        """The columns to read, each once; None for all."""
        if self.keep is None:
            return None
        names = [*self.wanted.values(), *self.keep]
        return list(dict.fromkeys(names))

    def check(
        self,
        present: Sequence[str],
        where: str,
        hint: str = "",
    ) -> None:
        """Checks that every column exists exactly once.

        Args:
            present: the columns of a file or row.
            where: the place, for errors.
            hint: the end of an error about a missing column.

        Raises:
            DataError: a column is missing or occurs more than once.
        """
        for key, name in self.wanted.items():
            _check_column(
                name,
                key,
                present,
                where,
                hint,
            )
        kept = present if self.keep is None else self.keep
        for name in kept:
            _check_column(
                name,
                "keep",
                present,
                where,
                hint,
            )

    def row(self, where: str, values: dict[str, Any]) -> Row:
        """Picks the columns to read from a row."""
        kept = values
        if self.keep is not None:
            kept = {name: values[name] for name in self.keep}
        label = values[self.label] if self.label is not None else None
        if self.distribution:
            label = [values[name] for name in self.distribution.values()]
        return Row(
            where=where,
            text=values[self.text],
            pair=values[self.pair] if self.pair is not None else None,
            label=label,
            kept=kept,
            weight=values[self.weight] if self.weight is not None else None,
        )


def _check_column(
    name: str,
    key: str,
    present: Sequence[str],
    where: str,
    hint: str,
) -> None:
    count = present.count(name)
    if count == 0:
        columns = _list_columns(present)
        guess = _guess(name, key, present)
        raise DataError(
            f"{where}: no column {shown(name)} ({key}); "
            f"the columns are {columns}"
            f"{guess}{hint}"
        )
    if count > 1:
        raise DataError(
            f"{where}: column {shown(name)} occurs {count} times; rename all but one"
        )


def _list_columns(present: Sequence[str]) -> str:
    names = [_plain(name) for name in present[:_MOST_SHOWN]]
    if len(present) > _MOST_SHOWN:
        names.append("...")
    return ", ".join(names)


def _guess(
    name: str,
    key: str,
    present: Sequence[str],
) -> str:
    near = difflib.get_close_matches(name.lower(), present, n=1)
    if not near:
        return ""
    nearest = _plain(near[0])
    return f"; did you mean {key}={nearest}?"


def _plain(name: str) -> str:
    """The name, quoted only if a terminal cannot show it."""
    if name.isprintable() and len(name) <= _LONGEST_SHOWN:
        return name
    return shown(name)
