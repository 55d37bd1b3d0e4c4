"""Rows of csv, tsv, json, jsonl and parquet files, one at a time, each with the place where its user finds it.

Promises: values come as written ("1", "NA" and "null" stay text), memory stays flat, and what cannot be read is a `DataError`
with file, line and remedy. Knows nothing of what a text or a label may be.
"""

import csv
import difflib
import glob
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from ostinato.errors import DataError

_LONGEST_FIELD = 1 << 28  # characters; the csv module's own limit of 131,072 is below what a long document needs
_CHUNK = 1 << 20
_SPACE = re.compile(r"[ \t\r\n]*")
_MAGIC = {
    b"PK\x03\x04": "a spreadsheet or zip archive",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet",
    b"\x1f\x8b": "gzip-compressed",
    b"PAR1": "parquet",
}


class Row(NamedTuple):
    """A row as read.

    Attributes:
        where: its place as a user counts, from 1: "line 7".
        text: the text.
        pair: the second text; None where there is no such column.
        label: the label.
    """

    where: str
    text: Any
    pair: Any
    label: Any


@dataclass(frozen=True)
class Columns:
    """Names of the columns to read."""

    text: str
    pair: str | None
    label: str

    @property
    def wanted(self) -> dict[str, str]:
        """Config key to column name."""
        keys = {"data.text_column": self.text, "data.text_pair_column": self.pair, "data.label_column": self.label}
        return {key: name for key, name in keys.items() if name is not None}

    def check(self, present: Sequence[str], where: str) -> None:
        """Raises DataError when `present` lacks a column or has it twice."""
        for key, name in self.wanted.items():
            if present.count(name) > 1:
                raise DataError(f"{where}: column {name!r} is there {present.count(name)} times; rename all but one")
            if name not in present:
                near = difflib.get_close_matches(name.lower(), present, n=1)
                guess = f"; did you mean {key}={near[0]}?" if near else ""
                columns = ", ".join(map(str, present[:20])) + (", ..." if len(present) > 20 else "")
                raise DataError(f"{where}: no column {name!r} ({key}); the columns are {columns}{guess}")

    def row(self, where: str, values: dict[str, Any]) -> Row:
        """Picks the wanted values of a row."""
        return Row(where, values[self.text], values[self.pair] if self.pair else None, values[self.label])


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
    literal = Path(path).expanduser()
    if literal.is_file():
        files = [literal]
    else:
        files = sorted(file for match in glob.glob(str(literal), recursive=True) if (file := Path(match)).is_file())
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
    reader = _READERS.get(file.suffix.lower())
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
        raise DataError(f"{file}: named {suffix} but its content is {found}; save it as {suffix[1:]} or name it after what it is")


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


def _read_delimited(file: Path, columns: Columns, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_FIELD)
    with file.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, delimiter=delimiter, strict=True)
        end = 0
        try:
            header = next((fields for fields in reader if fields), None)
            if header is None:
                return
            columns.check(header, str(file))
            end = reader.line_num
            for fields in reader:
                begin, end = end + 1, reader.line_num  # a quoted text may span lines
                if not fields:
                    continue
                if len(fields) != len(header):
                    raise DataError(
                        f"{file}, line {begin}: {len(fields)} fields where the header has {len(header)}; "
                        f"put texts that contain {'a tab' if delimiter == chr(9) else delimiter!r} in double quotes"
                    )
                yield columns.row(f"line {begin}", dict(zip(header, fields, strict=True)))
        except csv.Error as error:
            raise DataError(f'{file}, line {end + 1}: {error}; a quote inside a quoted text is doubled ("")') from error


def _read_csv(file: Path, columns: Columns) -> Iterator[Row]:
    return _read_delimited(file, columns, ",")


def _read_tsv(file: Path, columns: Columns) -> Iterator[Row]:
    return _read_delimited(file, columns, "\t")


def read_tab(file: Path, columns: Columns) -> Iterator[Row]:
    """Rows of an Orange `.tab` file: tab-separated without quotes; names, types and roles of the columns come first."""
    with file.open(encoding="utf-8", newline="\n") as stream:
        header = next(stream).rstrip("\n").split("\t")
        columns.check(header, str(file))
        for number, line in enumerate(stream, start=2):
            fields = line.rstrip("\n").split("\t")
            if number > 3 and any(fields):
                yield columns.row(f"line {number}", dict(zip(header, fields, strict=True)))


def _read_jsonl(file: Path, columns: Columns) -> Iterator[Row]:
    with file.open(encoding="utf-8-sig", newline="\n") as stream:  # U+2028 and its like do not end a JSON line
        for number, line in enumerate(stream, start=1):
            if line.isspace():
                continue
            try:
                value = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{file}, line {number}: not JSON ({error.msg} at position {error.pos + 1})") from error
            yield _json_row(file, columns, f"line {number}", value)


def _read_json(file: Path, columns: Columns) -> Iterator[Row]:
    with file.open(encoding="utf-8-sig") as stream:
        head = stream.read(_CHUNK)
        is_list = head.lstrip().startswith("[")
        if is_list:
            for number, value in enumerate(_json_items(file, stream, head.lstrip()[1:]), start=1):
                yield _json_row(file, columns, f"item {number}", value)
    if not is_list:
        yield from _read_jsonl(file, columns)


def _json_items(file: Path, stream: TextIO, buffer: str) -> Iterator[Any]:
    decode = json.JSONDecoder().raw_decode
    number, size, position = 1, _CHUNK, 0
    while True:
        try:
            position = _skip_space(buffer, position)
            if buffer.startswith("]", position):
                return
            value, end = decode(buffer, position)
            end = _skip_space(buffer, end)
            if buffer[end : end + 1] not in (",", "]"):
                raise json.JSONDecodeError("Expecting ',' or ']'", buffer, end)
        except json.JSONDecodeError as error:
            # Perhaps only cut off. Reading ever larger pieces keeps the repeated attempts linear in the file's size.
            more = stream.read(size)
            if not more:
                raise DataError(f"{file}, item {number}: not JSON ({error.msg})") from error
            buffer, position, size = buffer[position:] + more, 0, size * 2
            continue
        yield value
        number, size, position = number + 1, _CHUNK, end + buffer.startswith(",", end)


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _json_row(file: Path, columns: Columns, where: str, value: Any) -> Row:
    if not isinstance(value, dict):
        raise DataError(f"{file}, {where}: not a JSON object; each row is one, e.g. {{{json.dumps(columns.text)}: ...}}")
    columns.check(list(value), f"{file}, {where}")
    return columns.row(where, value)


def _read_parquet(file: Path, columns: Columns) -> Iterator[Row]:
    with pq.ParquetFile(file) as parquet:
        columns.check(parquet.schema_arrow.names, str(file))
        number = 0
        for batch in parquet.iter_batches(batch_size=1000, columns=list(columns.wanted.values())):
            for values in batch.to_pylist():
                number += 1
                yield columns.row(f"row {number}", values)


_READERS: dict[str, Callable[[Path, Columns], Iterator[Row]]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
