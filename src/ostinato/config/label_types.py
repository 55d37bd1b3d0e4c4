"""The types of config fields that name labels."""

from enum import Enum
from typing import Annotated, Any

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError


class LabelWeighting(str, Enum):
    """How weights follow from the number of rows of each label."""

    none = "none"
    balanced = "balanced"
    sqrt = "sqrt"


_LARGEST = 10_000


def _check_label_weights(value: Any) -> "LabelWeighting | dict[str, float]":
    if isinstance(value, dict) and value:
        weights = {_label_name(label): weight for label, weight in value.items()}
        if all(_is_weight(weight) for weight in weights.values()):
            return {label: float(weight) for label, weight in weights.items()}
    elif value in list(LabelWeighting):
        return LabelWeighting(value)
    options = ", ".join(LabelWeighting)
    typed = f"{{label: weight}} with weights from {1 / _LARGEST} to {_LARGEST:,}"
    problem = f"must be one of {options}, or {typed}"
    raise PydanticCustomError("label_weights", "{problem}", {"problem": problem})


def _label_name(label: Any) -> str:
    """The name that the label has in the data, where 1.0 is read as 1."""
    if isinstance(label, bool):
        return str(label).lower()
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label)


def _is_weight(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 1 / _LARGEST <= value <= _LARGEST


LabelWeights = Annotated[Any, AfterValidator(_check_label_weights)]


def _check_distribution(value: Any) -> dict[str, str] | list[str] | None:
    if value is None:
        return None
    names: list[Any] = []
    if isinstance(value, dict | list):
        names = [_label_name(label).strip() for label in value]
    if len(names) > 1 and len(set(names)) == len(names) and all(names):
        if isinstance(value, list):
            return names
        columns = list(value.values())
        are_names = all(isinstance(column, str) and column for column in columns)
        if are_names and len(set(columns)) == len(columns):
            return dict(zip(names, columns, strict=True))
    problem = "must be {label: column} or [label, ...] with at least two labels"
    raise PydanticCustomError("label_distribution", "{problem}", {"problem": problem})


LabelDistribution = Annotated[Any, AfterValidator(_check_distribution)]
