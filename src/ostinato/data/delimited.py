"""Rows of csv, tsv and Orange tab files. Values come as written ("1", "NA" and "null" stay text)."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ostinato.data.columns import Columns, Row
from ostinato.data.decoding import decode
from ostinato.errors import DataError

_LONGEST_FIELD = (
    1 << 28
)  # characters; the csv module's own limit of 131,072 is below what a long document needs
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}


def read_csv(stream: BinaryIO, name: str, columns: Columns) -> Iterator[Row]:
    """Rows of a csv file."""
    return _read(stream, name, columns, ",")


def read_tsv(stream: BinaryIO, name: str, columns: Columns) -> Iterator[Row]:
    """Rows of a tsv file; quotes as in csv."""
    return _read(stream, name, columns, "\t")


def _read(
    stream: BinaryIO, name: str, columns: Columns, delimiter: str
) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(decode(stream, name), delimiter=delimiter, strict=True)
    end = 0
    try:
        header = next((fields for fields in reader if fields), None)
        if header is None:
            return
        columns.check(header, name, _separator_hint(header, delimiter))
        begin = end = reader.line_num
        blank = None
        for fields in reader:
            begin, end = end + 1, reader.line_num  # a quoted text may span lines
            if not fields:
                blank = blank or begin
                continue
            _check_fields(fields, header, f"{name}, line {begin}", delimiter)
            if blank and len(header) == 1:
                raise DataError(
                    f'{name}, line {blank}: blank; with one column, write "" for an empty text'
                )
            yield columns.row(f"line {begin}", dict(zip(header, fields, strict=True)))
    except csv.Error as error:
        raise DataError(
            f'{name}, line {end + 1}: {error}; a quote inside a quoted text is doubled ("")'
        ) from error


def _separator_hint(header: list[str], delimiter: str) -> str:
    found = [
        other
        for other in _SEPARATORS
        if other != delimiter and len(header) == 1 and other in header[0]
    ]
    if not found:
        return ""
    remedy = "name it .tsv" if found[0] == "\t" else "save it with commas as .csv"
    return f"; the columns seem to be separated by {_SEPARATORS[found[0]]}: {remedy}"


def _check_fields(
    fields: list[str], header: list[str], where: str, delimiter: str
) -> None:
    if len(fields) != len(header):
        raise DataError(
            f"{where}: {len(fields)} fields where the header has {len(header)}; "
            f"put texts that contain {'a tab' if delimiter == chr(9) else delimiter!r} in double quotes"
        )
    if len(header) > 1 and [fields[0].removeprefix("\ufeff"), *fields[1:]] == header:
        raise DataError(
            f"{where}: repeats the header (were files joined?); remove this line"
        )


def read_tab(file: Path, columns: Columns) -> Iterator[Row]:
    """Rows of an Orange `.tab` file: tab-separated without quotes; names, types and roles of the columns come first."""
    with file.open(encoding="utf-8", newline="\n") as stream:
        header = next(stream).rstrip("\n").split("\t")
        columns.check(header, str(file))
        for number, line in enumerate(stream, start=2):
            fields = line.rstrip("\n").split("\t")
            if number > 3 and any(fields):
                yield columns.row(
                    f"line {number}", dict(zip(header, fields, strict=True))
                )
