"""Parses the weight that a row has in the loss."""

import math
from typing import Any

from ostinato.data.labels import to_float32
from ostinato.data.texts import shown

_SMALLEST = 1e-10
_LARGEST = 1e10


def parse_weight(value: Any) -> float:
    """Parses a weight, as a number or in a text.

    Sums of products of weights, class weights and losses must fit into fp32, which the
    limits ensure.

    Raises:
        ValueError: not a weight; the message gives the reason.
    """
    is_nan = isinstance(value, float) and math.isnan(value)
    if value is None or is_nan or value == "":
        raise ValueError(
            "the weight is missing (data.weight_column); "
            "add it, or use 0 to leave out the row"
        )
    try:
        if isinstance(value, bool):
            raise TypeError
        weight = to_float32(value)
    except OverflowError:
        weight = math.inf
    except (TypeError, ValueError):
        raise ValueError(
            f"the weight {shown(value)} is not a number (data.weight_column)"
        ) from None
    if weight != 0 and not _SMALLEST <= weight <= _LARGEST:
        raise ValueError(
            f"the weight {shown(value)} is neither 0 nor a number "
            f"from {_SMALLEST:g} to {_LARGEST:g} (data.weight_column)"
        )
    return abs(weight)  # -0.0 is 0.0
