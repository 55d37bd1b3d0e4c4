"""Rows of csv, tsv, json, jsonl, parquet and Orange tab files, one by one, each with the place where a user finds it.

Promises: values come as written ("1", "NA" and "null" stay text) and memory stays flat.
Knows nothing of what a text or a label may be; decoding and parquet errors pass through to `files.py`.
"""

import csv
import difflib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import pyarrow.parquet as pq

from ostinato.errors import DataError

_LONGEST_FIELD = 1 << 28  # characters; the csv module's own limit of 131,072 is below what a long document needs
_CHUNK = 1 << 20
_SPACE = re.compile(r"[ \t\r\n]*")


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
        raise DataError(
            f"{file}, {where}: not a JSON object; each row is one, e.g. {{{json.dumps(columns.text)}: ...}}"
        )
    columns.check(list(value), f"{file}, {where}")
    return columns.row(where, value)


def _read_parquet(file: Path, columns: Columns) -> Iterator[Row]:
    with pq.ParquetFile(file, buffer_size=1 << 16, pre_buffer=False) as parquet:  # pages, not whole row groups
        columns.check(parquet.schema_arrow.names, str(file))
        number = 0
        for batch in parquet.iter_batches(batch_size=100, use_threads=False, columns=list(columns.wanted.values())):
            for values in batch.to_pylist():
                number += 1
                yield columns.row(f"row {number}", values)


READERS: dict[str, Callable[[Path, Columns], Iterator[Row]]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
