"""Converts values to texts, and quotes values in errors.

Training and prediction share these rules.
"""

import math
import reprlib
from typing import Any

from ostinato.redaction import redact

_MOST_QUOTED = 100

_QUOTE = reprlib.Repr()
_QUOTE.maxstring = _MOST_QUOTED
_QUOTE.maxother = _MOST_QUOTED
_QUOTE.maxlong = _MOST_QUOTED


def text_of(value: Any) -> str:
    """Converts a value to a text; a missing value (None, NaN) is an empty text.

    Raises:
        ValueError: not a text; the message gives the reason.
    """
    is_nan = value != value  # only NaN differs from itself
    if value is None or is_nan:
        return ""
    is_bool = isinstance(value, bool)  # bool is a subclass of int
    if is_bool or not isinstance(value, str | int | float):
        kind = type(value).__name__
        raise ValueError(f"the text is a {kind}, not a string")
    if isinstance(value, float) and math.isinf(value):
        raise ValueError("the text is an infinite number, not a string")
    return check_unicode(str(value), "text")


def check_unicode(value: str, what: str) -> str:
    r"""Returns the value unchanged if it can be encoded.

    Args:
        value: the text.
        what: what the text is, for errors.

    Raises:
        ValueError: the text contains an unpaired surrogate, e.g. "\ud800" in JSON.
    """
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError as error:
        surrogate = value[error.start]
        raise ValueError(
            f"the {what} contains an unpaired surrogate ({surrogate!r}); fix the {what}"
        ) from None
    return value


def shown(value: Any) -> str:
    """Quotes a value for an error: one short line without control characters."""
    if isinstance(value, str):
        value = redact(value)  # before it is cut
    return _QUOTE.repr(value)
