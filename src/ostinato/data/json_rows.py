"""Rows of json and jsonl files. A list is decoded item by item, in flat memory, to its end."""

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, BinaryIO

from ostinato.data.columns import Columns, Row
from ostinato.data.decoding import decode
from ostinato.data.texts import shown
from ostinato.errors import DataError

_CHUNK = 1 << 20
_BLANK = " \t\r\n"  # JSON's white space
_SPACE = re.compile(f"[{_BLANK}]*")


def read_jsonl(stream: BinaryIO, name: str, columns: Columns) -> Iterator[Row]:
    """Rows of a file with one JSON object a line; blank lines are no rows."""
    return read_json_lines(decode(stream, name), name, columns)


def read_json(stream: BinaryIO, name: str, columns: Columns) -> Iterator[Row]:
    """Rows of one JSON list; JSON lines are read as well."""
    head: bytes = stream.peek(1)  # type: ignore[attr-defined]  # a buffered reader
    if not head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
        yield from read_jsonl(stream, name, columns)
        return
    for number, value in enumerate(_items(decode(stream, name, _CHUNK), name), start=1):
        yield _row(name, columns, f"item {number}", value)


def read_json_lines(lines: Iterable[str], name: str, columns: Columns) -> Iterator[Row]:
    """Rows of lines that each hold a JSON object."""
    for number, line in enumerate(lines, start=1):
        if not line.strip(_BLANK):
            continue
        try:
            value = _DECODER.decode(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{name}, line {number}: {_reason(error)}") from error
        yield _row(name, columns, f"line {number}", value)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(
            f"column {shown(double)} is there {names.count(double)} times; rename all but one"
        )
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON ({error.msg} at position {error.pos + 1})"
    if isinstance(error, RecursionError):
        return "nested too deeply; each row is a JSON object with plain values"
    return str(error).partition("; use sys.")[
        0
    ]  # a number with too many digits: the remedy is not for users


def _items(pieces: Iterator[str], name: str) -> Iterator[Any]:
    """The items of a JSON list.

    Raises:
        DataError: not JSON, or anything after the end of the list.
    """
    buffer = next(
        start for piece in pieces if (start := piece.lstrip(_BLANK))
    ).removeprefix("[")
    number, size, position, mark = 1, _CHUNK, 0, ","
    while mark == ",":
        try:
            position = _skip_space(buffer, position)
            if number == 1 and buffer.startswith("]", position):
                position += 1
                break
            value, end = _DECODER.raw_decode(buffer, position)
            end = _skip_space(buffer, end)
            mark = buffer[end : end + 1]
            if mark not in (",", "]"):
                raise json.JSONDecodeError("Expecting ',' or ']'", buffer, end)
        except json.JSONDecodeError as error:
            # Perhaps only cut off. Reading ever larger pieces keeps the repeated attempts linear in the file's size.
            more = _read(pieces, size)
            if not more:
                raise DataError(
                    f"{name}, item {number}: not JSON ({error.msg})"
                ) from error
            buffer, position, size, mark = buffer[position:] + more, 0, size * 2, ","
            continue
        except (ValueError, RecursionError) as error:
            raise DataError(f"{name}, item {number}: {_reason(error)}") from error
        yield value
        number, size, position = number + 1, _CHUNK, end + 1
    if any(rest.strip(_BLANK) for rest in chain([buffer[position:]], pieces)):
        raise DataError(
            f"{name}: there is more after the end of the list; give one list, or one object a line"
        )


def _read(pieces: Iterator[str], size: int) -> str:
    """At least `size` characters, or all that is left."""
    taken, length = [], 0
    for piece in pieces:
        taken.append(piece)
        length += len(piece)
        if length >= size:
            break
    return "".join(taken)


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _row(name: str, columns: Columns, where: str, value: Any) -> Row:
    if not isinstance(value, dict):
        raise DataError(
            f"{name}, {where}: not a JSON object; each row is one, e.g. {{{json.dumps(columns.text)}: ...}}"
        )
    columns.check(list(value), f"{name}, {where}")
    return columns.row(where, value)
