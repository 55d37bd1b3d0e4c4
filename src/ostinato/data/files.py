"""Finds the files of a path or glob and reads their rows.

Every failure is a `DataError` that names the file and the remedy.
"""

import difflib
import glob
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from ostinato.data.columns import Columns, Row
from ostinato.data.decoding import open_bytes
from ostinato.data.formats import READERS, Reader, read_stream
from ostinato.data.texts import shown
from ostinato.errors import DataError
from ostinato.storage import paths

# How files of other formats begin.
_SIGNATURES = {
    b"PK\x03\x04": "a spreadsheet or zip archive",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet",
    b"\x1f\x8b": "gzip-compressed",
    b"PAR1": "parquet",
}
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_HEAD_SIZE = 1024


@dataclass(frozen=True)
class RowSource:
    """Rows, and the name of their source in errors."""

    name: str
    rows: Iterable[Row]


def open_files(
    path: str,
    columns: Columns,
    key: str,
) -> list[RowSource]:
    """Finds the files of a path or glob, in sorted order; reads rows on iteration.

    Args:
        path: a file or a glob, relative to the working directory.
        columns: the columns to read.
        key: config key of the path, for errors.

    Raises:
        DataError: no file, or an unknown format.
    """
    sources = []
    for file in find_files(path, key):
        rows = _read(file, _reader(file), columns)
        sources.append(RowSource(str(file), rows))
    return sources


def open_stdin(columns: Columns, key: str) -> list[RowSource]:
    """Opens standard input as a source of rows: JSON lines, or one text a line.

    Raises:
        DataError: standard input is closed.
    """
    if sys.stdin is None:
        raise DataError(
            f"{key}=-: standard input is closed; "
            "pipe texts into the command, or give a file"
        )
    stream = cast(BinaryIO, sys.stdin.buffer)
    rows = _read_stdin(stream, columns)
    return [RowSource("stdin", rows)]


def find_files(path: str, key: str) -> list[Path]:
    """Finds the files of a path or glob, in sorted order.

    Raises:
        DataError: no file.
    """
    try:
        if "\0" in path:
            raise ValueError("it contains a NUL character")
        files = paths.find_files(path)
        if not files:
            reason = _why_no_file(path)
            raise DataError(f"{key}={path}: {reason}")
        return files
    except DataError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error)
        if isinstance(error, OSError):
            reason = str(error.strerror)
        raise DataError(
            f"{key}={shown(path)}: not a path that can be read ({reason})"
        ) from None


def _why_no_file(path: str) -> str:
    folder = Path.cwd()
    if glob.has_magic(path):
        return f"no file matches this glob; it is relative to {folder}"
    neighbour = _neighbour(paths.expand(path))
    return f"no such file{neighbour}; relative paths start at {folder}"


def _neighbour(path: Path) -> str:
    """What the user may have meant."""
    if path.is_dir():
        return f" (it is a folder: try {path}/*.csv)"
    if path.exists():
        return " (it is a pipe or a device: write its content to a file)"
    if not path.parent.is_dir():
        return ""
    names = [sibling.name for sibling in path.parent.iterdir()]
    near = difflib.get_close_matches(path.name, names, n=1)
    if not near:
        return ""
    return f" (did you mean {path.with_name(near[0])}?)"


def _suffix(file: Path) -> str:
    """The suffix that names the format, without .gz."""
    name = file.name.lower().removesuffix(".gz")
    return Path(name).suffix


def _reader(file: Path) -> Reader:
    suffix = _suffix(file)
    is_compressed = file.suffix.lower() == ".gz"
    is_known = suffix in READERS
    if is_compressed and suffix == ".parquet":
        is_known = False
    if not is_known:
        found = file.suffix
        if is_compressed:
            found = "".join(file.suffixes[-2:])
        raise DataError(
            f"{file}: unknown format {found!r}; "
            "csv, tsv, json, jsonl, txt and parquet can be read, "
            "and all but parquet as .gz"
        )
    return READERS[suffix]


def _read(
    file: Path,
    reader: Reader,
    columns: Columns,
) -> Iterator[Row]:
    name = str(file)
    try:
        with open_bytes(file) as stream:
            _check_content(name, stream, _suffix(file))
            yield from reader(stream, name, columns)
    except pa.ArrowException as error:
        reason = _first_line(error)
        raise DataError(f"{file}: not a readable parquet file ({reason})") from error
    except (EOFError, zlib.error) as error:
        raise DataError(
            f"{file}: damaged, or cut off ({error}); copy it again"
        ) from error
    except OSError as error:
        reason = error.strerror or _first_line(error)
        raise DataError(f"{file}: cannot be read ({reason})") from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _read_stdin(stream: BinaryIO, columns: Columns) -> Iterator[Row]:
    try:
        _check_content("stdin", stream, "")
        yield from read_stream(stream, "stdin", columns)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"stdin: cannot be read ({reason})") from error


def _check_content(
    name: str,
    stream: BinaryIO,
    suffix: str,
) -> None:
    """Refuses content of another kind by its first bytes, without consuming them.

    Args:
        name: name of the file in errors.
        stream: a buffered reader.
        suffix: suffix of the file; empty for standard input.

    Raises:
        DataError: no content, or content that does not match the suffix.
    """
    head: bytes = stream.peek(_HEAD_SIZE)[:_HEAD_SIZE]  # type: ignore[attr-defined]
    if not head:
        reason = "the file is empty" if suffix else "no input"
        raise DataError(f"{name}: {reason}")
    kind = _kind(head)
    if kind is None and suffix != ".parquet":
        if head.startswith(_UTF16_MARKS):
            raise DataError(f"{name}: encoded as UTF-16; save it as UTF-8")
        if b"\0" in head:
            kind = "binary"
    if kind is None or kind == suffix[1:]:
        return
    if not suffix:
        raise DataError(f"{name}: its content is {kind}; give lines of text")
    expected = suffix[1:]
    remedy = f"save it as {expected}, or rename it to match its content"
    if kind == "gzip-compressed":
        remedy = f"add .gz to its name or save it as {expected}"
    raise DataError(f"{name}: named {suffix} but its content is {kind}; {remedy}")


def _kind(head: bytes) -> str | None:
    """The format that the first bytes of a file identify."""
    for signature, kind in _SIGNATURES.items():
        if head.startswith(signature):
            is_text = b"\0" not in head
            if kind == "parquet" and is_text:  # a text can begin with PAR1
                return None
            return kind
    return None
