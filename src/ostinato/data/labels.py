"""What a label is: written in many ways, made uniform, put in order."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ostinato.config import Task


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
            raise ValueError("the label is missing (some test splits hide theirs); give it one or take the row out")
        if self.task is Task.regression:
            return _number(value)
        if self.task is Task.single_label:
            name = _name(value)
            if not name:
                raise ValueError("the label is empty; give it one or take the row out")
            return (name,)
        names = value.split(self.separator) if isinstance(value, str) else value if isinstance(value, list) else [value]
        return tuple(natural_sorted({_name(n) for n in names} - {""}))


def _name(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # whole numbers become floats where a column once had a hole
    if isinstance(value, str | int | float) and value == value:
        return str(value).strip()
    raise ValueError(f"the label {value!r} is no name; several labels in a row need data.task=multi_label")


def _number(value: Any) -> float:
    try:
        with np.errstate(over="ignore"):
            number = float(np.float32(value.strip() if isinstance(value, str) else value))
    except (TypeError, ValueError):
        raise ValueError(f"the label {value!r} is no number (data.task=regression)") from None
    if not math.isfinite(number):
        raise ValueError(f"the label {value!r} is no finite number (data.task=regression)")
    return number


def natural_sorted(names: Iterable[str]) -> list[str]:
    """Sorts names with the numbers in them as numbers: "2" before "10", "a2" before "a10"."""

    def key(name: str) -> tuple[list[str | int], str]:
        parts = re.split(r"([0-9]+)", name)  # text and digits take turns, so like meets like
        return [int(part) if i % 2 else part for i, part in enumerate(parts)], name

    return sorted(names, key=key)
