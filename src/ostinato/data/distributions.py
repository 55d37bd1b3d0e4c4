"""Parses the probabilities that a row has in place of one label."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ostinato.data.labels import to_float32
from ostinato.data.texts import shown

_TOLERANCE = 0.01 + 1e-9
"""Probabilities that were rounded to two or three digits do not sum to 1."""

_KEY = "data.label_distribution"


def parse_distribution(
    value: Any, labels: Sequence[str], separator: str
) -> list[float]:
    """Parses the probabilities of a row.

    Args:
        value: a list of numbers or of texts, or a text with separators.
        labels: names of the labels, in the order of the list.
        separator: separates the probabilities in a text.

    Returns:
        One fp32 number per label. They are divided by their sum, in float64.

    Raises:
        ValueError: not a distribution; the message gives the reason.
    """
    if isinstance(value, str):
        value = value.split(separator)
    if not isinstance(value, list):
        raise ValueError(
            f"the label {shown(value)} is not a list of probabilities ({_KEY})"
        )
    if len(value) != len(labels):
        raise ValueError(
            f"{len(value)} probabilities where {_KEY} has {len(labels)} labels; "
            "give one for each label"
        )
    pairs = zip(labels, value, strict=True)
    numbers = [_probability(label, probability) for label, probability in pairs]
    total = math.fsum(numbers)
    if abs(total - 1) > _TOLERANCE:
        raise ValueError(
            f"the probabilities sum to {total:.6g}, not to 1 ({_KEY}); "
            "divide them by their sum"
        )
    return [float(np.float32(number / total)) for number in numbers]


def _probability(label: str, value: Any) -> float:
    what = f"the probability of {shown(label)}"
    is_nan = isinstance(value, float) and math.isnan(value)
    if value is None or is_nan or value == "":
        raise ValueError(f"{what} is missing ({_KEY}); add it, or remove the row")
    try:
        if isinstance(value, bool):
            raise TypeError
        to_float32(value)  # refuses what is not a number
        number = float(value)
    except OverflowError:
        number = math.inf
    except (TypeError, ValueError):
        raise ValueError(f"{what} is {shown(value)}, not a number ({_KEY})") from None
    if not 0 <= number <= 1 + _TOLERANCE:
        raise ValueError(f"{what} is {shown(value)}, not from 0 to 1 ({_KEY})")
    return abs(number)  # -0.0 is 0.0
