"""Writes overrides and commands that can be typed: quoted for Hydra's grammar, and for the shell."""

import re
import shlex

_PLAIN = re.compile(r"[A-Za-z0-9_./@%+-]*[A-Za-z/][A-Za-z0-9_./@%+-]*")
_CONSTANTS = ("null", "true", "false", "nan", "inf")


def override(key: str, value: str) -> str:
    """A Hydra override that gives the key exactly this text.

    Args:
        key: the key, with dots.
        value: any text, such as a path.
    """
    return f"{key}={quoted(value)}"


def command(script: str, *overrides: str) -> str:
    """A command for the shell that runs a script of the project with these overrides."""
    return " ".join(["python", f"scripts/{script}.py", *map(shlex.quote, overrides)])


def quoted(value: str) -> str:
    """The value of an override, or an item of a list in one, that Hydra reads as exactly this text."""
    if _PLAIN.fullmatch(value) and not _is_number_or_constant(value):
        return value
    # OmegaConf reads ${ as a reference, unless an odd number of backslashes precedes it.
    value = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
    # Hydra halves backslashes before a quote, and nowhere else.
    return (
        "'" + re.sub(r"(\\*)'", r"\1\1\\'", value) + re.search(r"\\*$", value)[0] + "'"
    )  # type: ignore[index]


def _is_number_or_constant(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return value.lower().lstrip("+-") in _CONSTANTS
    return True
