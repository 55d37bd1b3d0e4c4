"""What a text is, and how a foreign value is quoted in an error. Training and prediction share these rules."""

import math
import reprlib
from typing import Any

_QUOTE = reprlib.Repr()
_QUOTE.maxstring = _QUOTE.maxother = _QUOTE.maxlong = 100


def text_of(value: Any) -> str:
    """The text that a value stands for; a missing value (None, NaN) is an empty text.

    Raises:
        ValueError: not a text; says why.
    """
    if value is None or value != value:  # NaN is unequal to itself
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"the text is a {type(value).__name__}, not a string")
    if isinstance(value, float) and math.isinf(value):
        raise ValueError("the text is an infinite number, not a string")
    return check_unicode(str(value), "text")


def check_unicode(value: str, what: str) -> str:
    r"""Returns the value unchanged, or raises ValueError when it has half of a surrogate pair ("\ud800" in JSON)."""
    try:
        if not value.isascii():
            value.encode()
    except UnicodeEncodeError as error:
        half = value[error.start]
        raise ValueError(
            f"the {what} has half of a surrogate pair ({half!r}); replace it by a whole character"
        ) from None
    return value


def shown(value: Any) -> str:
    """The value quoted for an error: one line, not long, without control characters."""
    return _QUOTE.repr(value)
