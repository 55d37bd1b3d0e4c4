"""Parses labels that are written in different ways, and sorts their names."""

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

_DIGITS = re.compile(r"([0-9]+)")


@dataclass(frozen=True)
class LabelFormat:
    """How labels are written.

    Attributes:
        task: what a label is.
        separator: separates several labels in one string.
        distribution: the labels whose probabilities each row has, in their order;
            empty if a row has a label.
    """

    task: Task
    separator: str
    distribution: tuple[str, ...] = ()

    def parse(self, value: Any) -> tuple[str, ...] | float:
        """Parses a label.

        Returns:
            The name (single-label, a tuple of one), the sorted names (multi-label), or
            the number (regression).

        Raises:
            ValueError: not a label of this task; the message gives the reason.
        """
        is_nan = isinstance(value, float) and math.isnan(value)
        if value is None or is_nan:
            raise ValueError(
                "the label is missing (some test splits hide their labels); "
                "add the label or remove the row"
            )
        if self.task is Task.regression:
            return _number(value)
        if self.task is Task.multi_label:
            return self._names(value)
        name = _name(value)
        if not name:
            raise ValueError("the label is empty; add the label or remove the row")
        return (name,)

    def _names(self, value: Any) -> tuple[str, ...]:
        values = [value]
        if isinstance(value, str):
            values = value.split(self.separator)
        elif isinstance(value, list):
            values = value
        names = {_name(single) for single in values}
        names.discard("")
        return tuple(natural_sorted(names))


def _name(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        if value.is_integer():
            # Integers become floats in a column that once had a missing value.
            return str(int(value))
        is_name = math.isfinite(value)
    else:
        is_name = isinstance(value, str | int)
    if not is_name:
        raise ValueError(
            f"the label {shown(value)} is not a name; "
            "several labels in a row need data.task=multi_label"
        )
    return check_unicode(str(value).strip(), "label")


def _number(value: Any) -> float:
    try:
        number = to_float32(value)
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


def to_float32(value: Any) -> float:
    """Rounds a number, or a text that is one, to fp32.

    Raises:
        TypeError, ValueError: not a number.
        OverflowError: an integer that is too large for a float.
    """
    if isinstance(value, str):
        value = value.strip()
        if "_" in value:  # float() accepts "1_000"
            raise ValueError
    elif not isinstance(value, int | float | Decimal):
        raise TypeError
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def natural_sorted(names: Iterable[str]) -> list[str]:
    """Sorts names by the numbers in them: "2" before "10", "a2" before "a10"."""
    return sorted(names, key=_natural_key)


def _natural_key(name: str) -> tuple[list[Any], str]:
    """Splits a name into text and digits, which alternate."""
    key: list[Any] = _DIGITS.split(name)
    for position in range(1, len(key), 2):
        key[position] = _digits_key(key[position])
    return key, name


def _digits_key(digits: str) -> tuple[int, str]:
    """Sorts like int(digits), which Python refuses for more than 4,300 digits."""
    significant = digits.lstrip("0")
    return len(significant), significant


def lookalikes(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups names that look alike.

    They differ only in case, white space, invisible characters or Unicode form.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[_appearance(name)].append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _appearance(name: str) -> str:
    characters = []
    for character in unicodedata.normalize("NFKC", name):
        is_invisible = unicodedata.category(character) == "Cf"
        if not is_invisible:
            characters.append(character)
    folded = "".join(characters).casefold()
    words = unicodedata.normalize("NFKC", folded).split()
    return " ".join(words)
