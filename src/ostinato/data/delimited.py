"""Reads rows of csv, tsv and Orange tab files.

Values stay as written: "1", "NA" and "null" are text.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ostinato.data.columns import Columns, Row
from ostinato.data.decoding import decode
from ostinato.errors import DataError

# Characters. The default of the csv module, 131,072, is too low for long documents.
_LONGEST_FIELD = 1 << 28
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}
_TAB_HEADER_LINES = 3


def read_csv(
    stream: BinaryIO,
    name: str,
    columns: Columns,
) -> Iterator[Row]:
    """Reads the rows of a csv file."""
    return _read(stream, name, columns, ",")


def read_tsv(
    stream: BinaryIO,
    name: str,
    columns: Columns,
) -> Iterator[Row]:
    """Reads the rows of a tsv file; quotes work as in csv."""
    return _read(stream, name, columns, "\t")


def read_tab(file: Path, columns: Columns) -> Iterator[Row]:
    """Reads the rows of an Orange `.tab` file.

    The file is tab-separated without quotes. Its first three lines are the names, types
    and roles of the columns.
    """
    with file.open(encoding="utf-8", newline="\n") as stream:
        header = next(stream).rstrip("\n").split("\t")
        columns.check(header, str(file))
        for number, line in enumerate(stream, start=2):
            fields = line.rstrip("\n").split("\t")
            if number > _TAB_HEADER_LINES and any(fields):
                values = dict(zip(header, fields, strict=True))
                yield columns.row(f"line {number}", values)


def _read(
    stream: BinaryIO,
    name: str,
    columns: Columns,
    delimiter: str,
) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_FIELD)
    lines = decode(stream, name)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    last_line = 0
    try:
        header = _first_filled(reader)
        if header is None:
            return
        columns.check(header, name, _separator_hint(header, delimiter))
        last_line = reader.line_num
        blank_line = None
        for fields in reader:
            # A row can span several lines, because a quoted text can.
            first_line = last_line + 1
            last_line = reader.line_num
            if not fields:
                blank_line = blank_line or first_line
                continue
            where = f"{name}, line {first_line}"
            _check_fields(fields, header, where, delimiter)
            if blank_line and len(header) == 1:
                raise DataError(
                    f"{name}, line {blank_line}: blank; "
                    'with one column, write "" for an empty text'
                )
            values = dict(zip(header, fields, strict=True))
            yield columns.row(f"line {first_line}", values)
    except csv.Error as error:
        raise DataError(
            f"{name}, line {last_line + 1}: {error}; "
            'double a quote inside a quoted text ("")'
        ) from error


def _first_filled(rows: Iterator[list[str]]) -> list[str] | None:
    """The first row that is not blank."""
    for fields in rows:
        if fields:
            return fields
    return None


def _separator_hint(header: list[str], delimiter: str) -> str:
    """A remedy for a header whose only column contains another separator."""
    if len(header) != 1:
        return ""
    for separator, plural in _SEPARATORS.items():
        if separator != delimiter and separator in header[0]:
            remedy = "save it with commas as .csv"
            if separator == "\t":
                remedy = "name it .tsv"
            return f"; the columns seem to be separated by {plural}: {remedy}"
    return ""


def _check_fields(
    fields: list[str],
    header: list[str],
    where: str,
    delimiter: str,
) -> None:
    if len(fields) != len(header):
        separator = "a tab" if delimiter == "\t" else repr(delimiter)
        num_fields = len(fields)
        raise DataError(
            f"{where}: {num_fields} fields where the header has {len(header)}; "
            f"put texts that contain {separator} in double quotes"
        )
    first_field = fields[0].removeprefix("\ufeff")
    is_header = [first_field, *fields[1:]] == header
    if is_header and len(header) > 1:
        raise DataError(
            f"{where}: repeats the header (were files joined?); remove this line"
        )
