"""Prepares the streams of a command, and prints mistakes without a traceback."""

import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from ostinato.cli.wording import first_line
from ostinato.errors import UserError
from ostinato.redaction import printable_json, shown


@contextmanager
def quiet_streams() -> Iterator[None]:
    """Writes UTF-8 in every locale, and accepts streams that are closed.

    When the reader of stdout has closed it, the command ends without a message.
    """
    _open_missing_descriptors()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))
        getattr(sys, name).reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes stdout again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(128 + signal.SIGPIPE)


def _open_missing_descriptors() -> None:
    """Opens /dev/null for each standard stream that is closed.

    Otherwise, the next file that is opened would take the number of that stream.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Prints an error outside of the command's own work in one line; exit code 2."""
    # Hydra raises its errors instead of printing them.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    except BrokenPipeError:
        raise
    except UserError as error:
        _exit_with(str(error))
    except (HydraException, OmegaConfBaseException) as error:
        _exit_with(first_line(error))
    except OSError as error:
        name = error.filename or "a file"
        reason = error.strerror or error
        _exit_with(f"{name}: cannot be read or written ({reason})")


def _exit_with(message: str) -> NoReturn:
    print_lines([message])
    sys.exit(2)


def print_lines(lines: Iterable[str]) -> None:
    """Prints lines to stderr, without secrets and control characters."""
    for line in lines:
        sys.stderr.write(f"{shown(line)}\n")


def print_results(*lines: str) -> None:
    """Prints lines to stdout, without secrets and control characters."""
    for line in lines:
        sys.stdout.write(f"{shown(line)}\n")
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """Prints a result to stdout as JSON, with control characters as escapes."""
    sys.stdout.write(f"{printable_json(value, indent=2)}\n")
