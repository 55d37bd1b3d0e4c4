"""Writes overrides and commands that a user can type.

Values are quoted for Hydra's grammar, and commands for the shell.
"""

import re
import shlex

_NEEDS_NO_QUOTES = re.compile(r"[A-Za-z0-9_./@%+-]*[A-Za-z/][A-Za-z0-9_./@%+-]*")
_CONSTANTS = ("null", "true", "false", "nan", "inf")


def override(key: str, value: str) -> str:
    """A Hydra override that sets a key to exactly this text.

    Args:
        key: the key, with dots.
        value: any text, for example a path.
    """
    return f"{key}={quoted(value)}"


def command(script: str, *overrides: str) -> str:
    """A shell command that runs a script of this project with these overrides."""
    arguments = [shlex.quote(text) for text in overrides]
    return " ".join(["python", f"scripts/{script}.py", *arguments])


def quoted(value: str) -> str:
    """A text, quoted so that Hydra reads exactly this text.

    Use it for the value of an override, or for an item of a list in one.
    """
    if _NEEDS_NO_QUOTES.fullmatch(value) and not _is_number_or_constant(value):
        return value

    # OmegaConf reads `${` as an interpolation, unless an odd number of backslashes
    # comes before it.
    escaped = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)

    # Hydra halves the backslashes before a quote, and nowhere else.
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", escaped)
    last_backslashes = escaped[len(escaped.rstrip("\\")) :]
    return f"'{escaped}{last_backslashes}'"


def _is_number_or_constant(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return value.lower().lstrip("+-") in _CONSTANTS
    return True
