"""Reads rows of json and jsonl files.

A JSON list is decoded item by item, in constant memory.
"""

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, BinaryIO

from ostinato.data.columns import Columns, Row
from ostinato.data.decoding import decode
from ostinato.data.texts import shown
from ostinato.errors import DataError

_CHUNK = 1 << 20  # characters
_BLANK = " \t\r\n"  # white space of JSON
_SPACE = re.compile(f"[{_BLANK}]*")


def read_jsonl(
    stream: BinaryIO,
    name: str,
    columns: Columns,
) -> Iterator[Row]:
    """Reads a file with one JSON object a line; blank lines are skipped."""
    lines = decode(stream, name)
    return read_json_lines(lines, name, columns)


def read_json(
    stream: BinaryIO,
    name: str,
    columns: Columns,
) -> Iterator[Row]:
    """Reads a file with one JSON list, or with JSON lines."""
    head: bytes = stream.peek(1)  # type: ignore[attr-defined]  # a buffered reader
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head.startswith(b"["):
        yield from read_jsonl(stream, name, columns)
        return
    pieces = decode(stream, name, _CHUNK)
    for number, value in enumerate(_items(pieces, name), start=1):
        where = f"item {number}"
        yield _row(name, columns, where, value)


def read_json_lines(
    lines: Iterable[str],
    name: str,
    columns: Columns,
) -> Iterator[Row]:
    """Reads lines that each hold a JSON object; blank lines are skipped."""
    for number, line in enumerate(lines, start=1):
        if not line.strip(_BLANK):
            continue
        where = f"line {number}"
        try:
            value = _DECODER.decode(line)
        except (ValueError, RecursionError) as error:
            reason = _reason(error)
            raise DataError(f"{name}, {where}: {reason}") from error
        yield _row(name, columns, where, value)


def _row(
    name: str,
    columns: Columns,
    where: str,
    value: Any,
) -> Row:
    if not isinstance(value, dict):
        key = json.dumps(columns.text)
        raise DataError(
            f"{name}, {where}: not a JSON object; "
            f"each row is an object, e.g. {{{key}: ...}}"
        )
    present = list(value)
    columns.check(present, f"{name}, {where}")
    return columns.row(where, value)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Makes a dictionary of a JSON object; refuses a key that occurs twice."""
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    names = [name for name, _ in pairs]
    repeated = next(name for name in names if names.count(name) > 1)
    count = names.count(repeated)
    raise ValueError(
        f"column {shown(repeated)} occurs {count} times; rename all but one"
    )


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        position = error.pos + 1
        return f"not JSON ({error.msg} at position {position})"
    if isinstance(error, RecursionError):
        return "nested too deeply; each row is a JSON object with plain values"
    # For a number with too many digits, Python adds a remedy that users cannot apply.
    reason, _, _ = str(error).partition("; use sys.")
    return reason


def _items(pieces: Iterator[str], name: str) -> Iterator[Any]:
    """Yields the items of a JSON list.

    Args:
        pieces: the text of the list, in pieces of any size.
        name: name of the file in errors.

    Raises:
        DataError: not JSON, or more text after the end of the list.
    """
    text = _ListText(pieces)
    number = 1
    mark = ","
    while mark == ",":
        try:
            if number == 1 and text.skip_empty_list():
                break
            value, mark = text.decode_item()
        except json.JSONDecodeError as error:
            # The item may only be cut off at the end of the text that was read.
            if text.read_more():
                continue
            reason = f"not JSON ({error.msg})"
            raise DataError(f"{name}, item {number}: {reason}") from error
        except (ValueError, RecursionError) as error:
            reason = _reason(error)
            raise DataError(f"{name}, item {number}: {reason}") from error
        yield value
        number += 1
    if text.has_rest():
        raise DataError(
            f"{name}: there is more after the end of the list; "
            "give one list, or one object a line"
        )


class _ListText:
    """The text of a JSON list after its opening bracket, read as needed."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces = pieces
        self._text = _first_filled(pieces).removeprefix("[")
        self._position = 0
        self._size = _CHUNK

    def skip_empty_list(self) -> bool:
        """Whether the list ends before its first item; skips its end."""
        self._skip_space()
        if not self._text.startswith("]", self._position):
            return False
        self._position += 1
        return True

    def decode_item(self) -> tuple[Any, str]:
        """Decodes an item and moves behind it.

        Returns:
            The item, and the mark after it: "," or "]".

        Raises:
            json.JSONDecodeError: not JSON, or cut off; the position is unchanged.
            ValueError: a value that Python cannot represent, or a repeated key.
        """
        self._skip_space()
        value, end = _DECODER.raw_decode(self._text, self._position)
        end = _end_of_space(self._text, end)
        mark = self._text[end : end + 1]
        if mark not in (",", "]"):
            raise json.JSONDecodeError("Expecting ',' or ']'", self._text, end)
        self._position = end + 1
        self._size = _CHUNK
        return value, mark

    def read_more(self) -> bool:
        """Reads more text; returns whether there was any.

        Each attempt for the same item reads twice as much as the one before. This keeps
        the time for repeated decoding linear in the size of the file.
        """
        rest = self._text[self._position :]
        more = _read(self._pieces, self._size)
        self._text = rest + more
        self._position = 0
        self._size *= 2
        return bool(more)

    def has_rest(self) -> bool:
        """Whether anything but white space is left."""
        rest = self._text[self._position :]
        unread = chain([rest], self._pieces)
        return any(piece.strip(_BLANK) for piece in unread)

    def _skip_space(self) -> None:
        self._position = _end_of_space(self._text, self._position)


def _first_filled(pieces: Iterator[str]) -> str:
    """The first piece that is not blank, without white space at its start."""
    for piece in pieces:
        text = piece.lstrip(_BLANK)
        if text:
            return text
    return ""


def _read(pieces: Iterator[str], size: int) -> str:
    """Reads at least `size` characters, or all that is left."""
    taken = []
    length = 0
    for piece in pieces:
        taken.append(piece)
        length += len(piece)
        if length >= size:
            break
    return "".join(taken)


def _end_of_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position
