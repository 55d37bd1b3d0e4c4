"""Reads and edits a list of arguments: overrides, and the flags of Hydra.

This is the only module that uses a private function of Hydra.
"""

import argparse
import os
from typing import Any

from hydra._internal.utils import get_args_parser  # private in hydra-core 1.3.8
from hydra.core.override_parser.overrides_parser import OverridesParser

from ostinato.command_line import override

# The keys whose value is a path.
_PATH_KEYS = {
    "run",
    "resume",
    "resume.run",
    "against",
    "path",
    "input",
    "output",
    "table",
    "folder",
    "model.name",
    "data.train_path",
    "data.val_path",
    "data.test_path",
    "hydra.run.dir",
    "hydra.sweep.dir",
}


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Parses arguments; flags can be anywhere among the overrides."""
    return get_args_parser().parse_intermixed_args(argv)


def overrides_of(argv: list[str]) -> list[str]:
    """The overrides among the arguments."""
    overrides: list[str] = parse_arguments(argv).overrides
    return overrides


def only_prints(argv: list[str]) -> bool:
    """Whether a flag makes Hydra print something instead of running the command."""
    arguments = parse_arguments(argv)
    return bool(arguments.cfg or arguments.info or arguments.hydra_help)


def is_sweep(argv: list[str]) -> bool:
    """Whether the arguments start a sweep."""
    return bool(parse_arguments(argv).multirun) and not only_prints(argv)


def with_overrides(argv: list[str], overrides: list[str]) -> list[str]:
    """The arguments with other overrides.

    The overrides come before the flags, because Hydra requires them to be adjacent.
    """
    flags = list(argv)
    for text in overrides_of(argv):
        flags.remove(text)
    return [*overrides, *flags]


def find_override(argv: list[str], key: str) -> str | None:
    """The first override of a key, as typed; None if there is none."""
    for text in argv:
        if text.startswith(f"{key}="):
            return text
    return None


def value_of(text: str) -> Any:
    """The value of an override, as Hydra reads it.

    Raises:
        HydraException, ValueError, RecursionError: the text is not an override.
    """
    return OverridesParser.create().parse_override(text).value()


def quote_existing_paths(argv: list[str]) -> list[str]:
    """Quotes each path that exists, so that a user need not quote it for Hydra."""
    overrides = [quote_existing_path(text) for text in overrides_of(argv)]
    return with_overrides(argv, overrides)


def quote_existing_path(text: str) -> str:
    """The override, with its value quoted if that is a path that exists."""
    key, _, value = text.partition("=")
    if key in _PATH_KEYS and value and os.path.lexists(value):
        return override(key, value)
    return text
