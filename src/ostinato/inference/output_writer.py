"""Writes the output of predict: csv, or JSON lines to a file or stdout."""

import csv
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TextIO

from ostinato.config import PredictConfig
from ostinato.data.files import find_files
from ostinato.data.texts import shown
from ostinato.errors import ConfigError, DataError
from ostinato.inference.output_rows import csv_row, is_csv, safe_cell
from ostinato.redaction import printable_json
from ostinato.storage.atomic import atomic_file

_BROKEN_PIPE = 141  # 128 + SIGPIPE, the exit code that shells show

Write = Callable[[dict[str, Any], dict[str, Any]], None]
"""Writes one row: values of the kept columns, and the prediction."""


def check_output(cfg: PredictConfig) -> None:
    """Checks that the output can be written and is not the input.

    Args:
        cfg: options of predict.

    Raises:
        ConfigError: it cannot be written, or it is the input by any name or link.
    """
    output: str | Path = "-"
    if cfg.output != "-":
        output = _output_file(cfg)
        if output.exists() and not output.is_file():
            raise ConfigError(
                [f"output={cfg.output}: is not a file; give another name"]
            )
        if not output.parent.is_dir():
            raise ConfigError(
                [
                    f"output={cfg.output}: no such folder {output.parent}; "
                    "create it first"
                ]
            )
    output_id = _file_id(output, sys.stdout)
    if output_id is None:
        return
    inputs = ["-"] if cfg.input == "-" else find_files(cfg.input, "input")
    for path in inputs:
        if _file_id(path, sys.stdin) == output_id:
            raise ConfigError(
                [
                    f"output={cfg.output}: is the same file as input={cfg.input}; "
                    "give another output"
                ]
            )


def _output_file(cfg: PredictConfig) -> Path:
    """The file to write. A link is resolved, so that its target is replaced."""
    try:
        path = Path(cfg.output).expanduser().resolve()
        path.exists()  # raises an error for a name that is too long
    except (OSError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            [f"output={shown(cfg.output)}: is not a valid path ({reason})"]
        ) from None
    return path


def _file_id(path: str | Path, stream: TextIO) -> tuple[int, int] | None:
    """Device and inode of a regular file; `-` is the file of the stream.

    None if there is no file, or if the stream has none.
    """
    try:
        found = os.fstat(stream.fileno()) if path == "-" else Path(path).stat()
    except (OSError, ValueError, AttributeError):
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


@contextmanager
def open_writer(cfg: PredictConfig) -> Iterator[Write]:
    """Opens the output; a file is replaced when the block ends without an error.

    Args:
        cfg: options of predict.

    Yields:
        A function that writes one row.

    Raises:
        ConfigError: the file cannot be written.
    """
    if cfg.output == "-":
        with _exit_on_broken_pipe():
            yield _write_to_stdout
        return
    path = _output_file(cfg)
    try:
        with atomic_file(path, newline="") as file:
            yield _csv_writer(file, cfg) if is_csv(cfg) else _json_writer(file)
    except OSError as error:
        raise ConfigError(
            [f"output={cfg.output}: cannot be written ({error.strerror or error})"]
        ) from error


def _json_writer(file: IO[str]) -> Write:
    def write(kept: dict[str, Any], prediction: dict[str, Any]) -> None:
        text = json.dumps(kept | prediction, ensure_ascii=False)
        file.write(f"{text}\n")

    return write


def _write_to_stdout(kept: dict[str, Any], prediction: dict[str, Any]) -> None:
    """Writes and flushes one line; ASCII if stdout is not UTF-8."""
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    row = kept | prediction
    text = printable_json(row) if encoding == "utf8" else json.dumps(row)
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@contextmanager
def _exit_on_broken_pipe() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        # Python flushes stdout at exit, which would print another error.
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        sys.exit(_BROKEN_PIPE)


def _csv_writer(file: IO[str], cfg: PredictConfig) -> Write:
    writer = csv.writer(file)
    header: list[str] = []

    def write_cells(cells: list[Any]) -> None:
        writer.writerow(map(safe_cell, cells) if cfg.csv_safe else cells)

    def write(kept: dict[str, Any], prediction: dict[str, Any]) -> None:
        row = csv_row(kept, prediction)
        if not header:
            header.extend(row)
            write_cells(header)
        different = row.keys() ^ set(header)
        if different:
            names = ", ".join(map(repr, different))
            raise DataError(
                f"keep=all: a row has other columns than the first row ({names}); "
                "name the columns, e.g. keep=[id], or give output=FILE.jsonl"
            )
        write_cells([row[name] for name in header])

    return write
