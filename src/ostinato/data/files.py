"""Finds the files of a path or glob and guards their reading: what fails is a `DataError` with file and remedy."""

import difflib
import glob
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from ostinato.data.formats import READERS, Columns, Row
from ostinato.errors import DataError
from ostinato.paths import expand, find_files

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
    files, literal = find_files(path), expand(path)
    if not files:
        if glob.has_magic(path):
            raise DataError(f"{key}={path}: no file matches this glob; it is relative to {Path.cwd()}")
        raise DataError(f"{key}={path}: no such file{_neighbour(literal)}; relative paths start at {Path.cwd()}")
    return [_source(file, columns) for file in files]


def _neighbour(path: Path) -> str:
    if path.is_dir():
        return f" (it is a folder: try {path}/*.csv)"
    names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    return f" (did you mean {path.with_name(near[0])}?)" if near else ""


def _source(file: Path, columns: Columns) -> RowSource:
    reader = READERS.get(file.suffix.lower())
    if reader is None:
        raise DataError(f"{file}: unknown format {file.suffix!r}; csv, tsv, json, jsonl and parquet can be read")
    return RowSource(str(file), _guard(file, reader(file, columns)))


def _check_magic(file: Path) -> None:
    with file.open("rb") as stream:
        head = stream.read(1024)
    if not head:
        raise DataError(f"{file}: the file is empty")
    suffix = file.suffix.lower()
    found = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)
    if found is None and suffix != ".parquet" and head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{file}: encoded as UTF-16; save it as UTF-8")
    if found is None and suffix != ".parquet" and b"\0" in head:
        found = "binary"
    if found is not None and found != suffix[1:]:
        raise DataError(
            f"{file}: named {suffix} but its content is {found}; save it as {suffix[1:]} or name it after what it is"
        )


def _guard(file: Path, rows: Iterator[Row]) -> Iterator[Row]:
    try:
        _check_magic(file)
        yield from rows
    except UnicodeDecodeError as error:
        raise DataError(f"{file}, {_bad_byte(file)}; the file is not UTF-8: save it as UTF-8") from error
    except pa.ArrowException as error:
        raise DataError(f"{file}: not a readable parquet file ({str(error).splitlines()[0]})") from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or str(error).splitlines()[0]})") from error


def _bad_byte(file: Path) -> str:
    # The decoder works on blocks and knows no lines, so the place is looked for again.
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return f"line {number}: byte 0x{line[error.start]:02x} at position {error.start + 1}"
    raise AssertionError("only called for a file that does not decode")
