r"""Decodes the bytes of a file or stream to lines of text, in constant memory.

Lines end with "\n", "\r\n" or "\r" only; U+2028 does not end a line. A byte that is not
UTF-8 is an error that names its line.
"""

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from ostinato.errors import DataError

# The error handler `surrogateescape` decodes an invalid byte to this plus the byte.
_ESCAPE = 0xDC00


def open_bytes(file: Path) -> BinaryIO:
    """Opens a file for reading; the content of a .gz file is decompressed."""
    if file.suffix.lower() == ".gz":
        return cast(BinaryIO, gzip.open(file))
    return file.open("rb")


def decode(
    stream: BinaryIO,
    name: str,
    longest: int = -1,
) -> Iterator[str]:
    """Yields the lines of a stream, with their ends.

    A byte order mark at the start is dropped.

    Args:
        stream: UTF-8 bytes.
        name: name of the stream in errors.
        longest: longer lines are cut into pieces of at most this many characters; -1
            cuts none.

    Raises:
        DataError: a byte that is not UTF-8, or a NUL byte.
    """
    text = io.TextIOWrapper(
        stream,
        "utf-8-sig",
        errors="surrogateescape",
        newline="",
    )
    line = 1
    position = 0
    while piece := text.readline(longest):
        _check(piece, name, line, position)
        if piece.endswith(("\n", "\r")):
            line += 1
            position = 0
        else:
            position += len(piece)
        yield piece


def _check(
    piece: str,
    name: str,
    line: int,
    position: int,
) -> None:
    """Raises DataError for a NUL byte or a byte that is not UTF-8.

    Args:
        piece: a line, or a part of one.
        name: name of the stream.
        line: number of the line.
        position: characters of the line before the piece.
    """
    where = f"{name}, line {line}"
    if "\0" in piece:
        place = position + piece.index("\0") + 1
        raise DataError(f"{where}: a NUL byte at position {place}; remove it")
    if piece.isascii():
        return
    try:
        piece.encode()
    except UnicodeEncodeError as error:
        byte = ord(piece[error.start]) - _ESCAPE
        place = position + error.start + 1
        raise DataError(
            f"{where}: byte 0x{byte:02x} at position {place}; "
            "the file is not UTF-8: save it as UTF-8"
        ) from None
