"""What a command does with its streams and with errors that nobody else handles. No traceback for a user's mistake."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from ostinato.cli.composition import first_line
from ostinato.errors import UserError
from ostinato.redaction import shown


@contextmanager
def quiet_streams() -> Iterator[None]:
    """Writes UTF-8 whatever the locale; a closed stdout or a reader that has gone ends the command without noise."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        # One of the standard streams is closed; without this, the next file that is opened would take its place.
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:
            setattr(sys, stream, Path(os.devnull).open("w", encoding="utf-8"))
        getattr(sys, stream).reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), 1
        )  # Python flushes stdout again when it ends
        sys.exit(128 + signal.SIGPIPE)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends with one line and exit code 2 where Hydra fails outside of the command's own work."""
    os.environ["HYDRA_FULL_ERROR"] = (
        "1"  # Hydra raises its errors instead of printing them
    )
    try:
        yield
    except BrokenPipeError:
        raise
    except (UserError, HydraException, OmegaConfBaseException) as error:
        text = str(error) if isinstance(error, UserError) else first_line(error)
        sys.stderr.write(f"{shown(text)}\n")
        sys.exit(2)
    except OSError as error:
        text = f"{error.filename or 'a file'}: cannot be written or read ({error.strerror or error})"
        sys.stderr.write(f"{shown(text)}\n")
        sys.exit(2)
