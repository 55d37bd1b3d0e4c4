"""What a label is: written in many ways, made uniform, put in order."""

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from ostinato.config import Task
from ostinato.data.texts import check_unicode, shown


@dataclass(frozen=True)
class LabelFormat:
    """How labels are written: the task, and what separates several in one string."""

    task: Task
    separator: str

    def parse(self, value: Any) -> tuple[str, ...] | float:
        """Makes a label uniform: its names (one for single_label, sorted for multi_label) or its number.

        Raises:
            ValueError: no label of this task; says why.
        """
        if value is None or (isinstance(value, float) and math.isnan(value)):
            raise ValueError(
                "the label is missing (some test splits hide theirs); give it one or take the row out"
            )
        if self.task is Task.regression:
            return _number(value)
        if self.task is Task.single_label:
            name = _name(value)
            if not name:
                raise ValueError("the label is empty; give it one or take the row out")
            return (name,)
        names = (
            value.split(self.separator)
            if isinstance(value, str)
            else value
            if isinstance(value, list)
            else [value]
        )
        return tuple(natural_sorted({_name(n) for n in names} - {""}))


def _name(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(
            int(value)
        )  # whole numbers become floats where a column once had a hole
    if isinstance(value, str | int) or (
        isinstance(value, float) and math.isfinite(value)
    ):
        return check_unicode(str(value).strip(), "label")
    raise ValueError(
        f"the label {shown(value)} is not a name; several labels in a row need data.task=multi_label"
    )


def _number(value: Any) -> float:
    text = value.strip() if isinstance(value, str) else value
    try:
        if not isinstance(text, str | int | float | Decimal) or (
            isinstance(text, str) and "_" in text
        ):
            raise TypeError  # float() takes "1_000" for a number
        with np.errstate(over="ignore"):
            number = float(np.float32(text))
    except OverflowError:
        number = math.inf
    except (TypeError, ValueError):
        raise ValueError(
            f"the label {shown(value)} is not a number (data.task=regression)"
        ) from None
    if not math.isfinite(number):
        raise ValueError(
            f"the label {shown(value)} is not a finite number (data.task=regression)"
        )
    return number


def natural_sorted(names: Iterable[str]) -> list[str]:
    """Sorts names with the numbers in them as numbers: "2" before "10", "a2" before "a10"."""

    def key(name: str) -> tuple[list[Any], str]:
        parts = re.split(
            r"([0-9]+)", name
        )  # text and digits take turns, so like meets like
        return [_size(part) if i % 2 else part for i, part in enumerate(parts)], name

    return sorted(names, key=key)


def _size(digits: str) -> tuple[int, str]:
    """Orders as int(digits) does, for any number of digits: Python refuses to convert more than 4,300."""
    significant = digits.lstrip("0")
    return len(significant), significant


def lookalikes(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of names that differ only in case, white space, invisible characters or Unicode form."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        visible = "".join(
            c
            for c in unicodedata.normalize("NFKC", name)
            if unicodedata.category(c) != "Cf"
        )
        groups[
            " ".join(unicodedata.normalize("NFKC", visible.casefold()).split())
        ].append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]
