"""Finds the files of a path or glob and guards their reading: what fails is a `DataError` with file and remedy."""

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

_MAGIC = {
    b"PK\x03\x04": "a spreadsheet or zip archive",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet",
    b"\x1f\x8b": "gzip-compressed",
    b"PAR1": "parquet",
}


@dataclass(frozen=True)
class RowSource:
    """Something that rows are read from, with the name that errors call it by."""

    name: str
    rows: Iterable[Row]


def open_files(path: str, columns: Columns, key: str) -> list[RowSource]:
    """Finds the files of a path or glob, in sorted order; their rows are read when asked for.

    Args:
        path: a file or a glob, relative to the working directory.
        columns: what to read.
        key: config key of the path, for errors.

    Raises:
        DataError: nothing there, or a format that cannot be read.
    """
    return [
        RowSource(str(file), _read(file, _reader(file), columns))
        for file in find_files(path, key)
    ]


def open_stdin(columns: Columns, key: str) -> list[RowSource]:
    """Standard input as a source of rows: JSON lines, or one text a line.

    Raises:
        DataError: standard input is closed.
    """
    if sys.stdin is None:
        raise DataError(
            f"{key}=-: standard input is closed; pipe texts into the command, or give a file"
        )
    return [RowSource("stdin", _read_stdin(cast(BinaryIO, sys.stdin.buffer), columns))]


def find_files(path: str, key: str) -> list[Path]:
    """The files of a path or glob, in sorted order.

    Raises:
        DataError: no file there.
    """
    try:
        if "\0" in path:
            raise ValueError("it contains a NUL character")
        files, literal = paths.find_files(path), paths.expand(path)
        if files:
            return files
        if glob.has_magic(path):
            raise DataError(
                f"{key}={path}: no file matches this glob; it is relative to {Path.cwd()}"
            )
        raise DataError(
            f"{key}={path}: no such file{_neighbour(literal)}; relative paths start at {Path.cwd()}"
        )
    except DataError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(
            f"{key}={shown(path)}: not a path that can be read ({reason})"
        ) from None


def _neighbour(path: Path) -> str:
    if path.is_dir():
        return f" (it is a folder: try {path}/*.csv)"
    if path.exists():
        return " (it is a pipe or a device: write its content to a file)"
    names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    return f" (did you mean {path.with_name(near[0])}?)" if near else ""


def _suffix(file: Path) -> str:
    """The suffix that names the format, without .gz."""
    return Path(file.name.lower().removesuffix(".gz")).suffix


def _reader(file: Path) -> Reader:
    suffix, compressed = _suffix(file), file.suffix.lower() == ".gz"
    if suffix not in READERS or (compressed and suffix == ".parquet"):
        raise DataError(
            f"{file}: unknown format {''.join(file.suffixes[-2:]) if compressed else file.suffix!r}; csv, tsv, json, "
            "jsonl, txt and parquet can be read, and all but parquet as .gz"
        )
    return READERS[suffix]


def _read(file: Path, reader: Reader, columns: Columns) -> Iterator[Row]:
    try:
        with open_bytes(file) as stream:
            _check_content(str(file), stream, _suffix(file))
            yield from reader(stream, str(file), columns)
    except pa.ArrowException as error:
        raise DataError(
            f"{file}: not a readable parquet file ({str(error).splitlines()[0]})"
        ) from error
    except (EOFError, zlib.error) as error:
        raise DataError(
            f"{file}: damaged, or cut off ({error}); copy it again"
        ) from error
    except OSError as error:
        raise DataError(
            f"{file}: cannot be read ({error.strerror or str(error).splitlines()[0]})"
        ) from error


def _read_stdin(stream: BinaryIO, columns: Columns) -> Iterator[Row]:
    try:
        _check_content("stdin", stream, "")
        yield from read_stream(stream, "stdin", columns)
    except OSError as error:
        raise DataError(f"stdin: cannot be read ({error.strerror or error})") from error


def _check_content(name: str, stream: BinaryIO, suffix: str) -> None:
    """Looks at the first bytes, without reading them: a file of another kind is refused by that name."""
    head: bytes = stream.peek(1024)[:1024]  # type: ignore[attr-defined]  # a buffered reader
    if not head:
        raise DataError(f"{name}: {'no input' if not suffix else 'the file is empty'}")
    found = next(
        (kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None
    )
    if found == "parquet" and b"\0" not in head:  # a text can begin with PAR1
        found = None
    if (
        found is None
        and suffix != ".parquet"
        and head[:2] in (b"\xff\xfe", b"\xfe\xff")
    ):
        raise DataError(f"{name}: encoded as UTF-16; save it as UTF-8")
    if found is None and suffix != ".parquet" and b"\0" in head:
        found = "binary"
    if found is None or found == suffix[1:]:
        return
    if not suffix:
        raise DataError(f"{name}: its content is {found}; give lines of text")
    remedy = (
        f"add .gz to its name or save it as {suffix[1:]}"
        if found == "gzip-compressed"
        else None
    )
    raise DataError(
        f"{name}: named {suffix} but its content is {found}; "
        f"{remedy or f'save it as {suffix[1:]} or name it after what it is'}"
    )
