r"""From the bytes of a file or stream to lines of text. A byte that is not UTF-8 is an error with its line.

Lines end with "\n", "\r\n" or "\r", and with nothing else: not with U+2028. Memory stays flat.
"""

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from ostinato.errors import DataError


def open_bytes(file: Path) -> BinaryIO:
    """Opens a file to read; the content of a .gz file is decompressed."""
    return (
        cast(BinaryIO, gzip.open(file))
        if file.suffix.lower() == ".gz"
        else file.open("rb")
    )


def decode(stream: BinaryIO, name: str, longest: int = -1) -> Iterator[str]:
    """Yields the lines of a stream, with their ends; a byte order mark at the start is dropped.

    Args:
        stream: UTF-8.
        name: what errors call it.
        longest: longer lines come in pieces of at most this many characters.

    Raises:
        DataError: a byte that is not UTF-8, or a NUL byte.
    """
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
    line, before = 1, 0
    while piece := text.readline(longest):
        _check(piece, name, line, before)
        ended = piece.endswith(("\n", "\r"))
        line, before = (line + 1, 0) if ended else (line, before + len(piece))
        yield piece


def _check(piece: str, name: str, line: int, before: int) -> None:
    if "\0" in piece:
        raise DataError(
            f"{name}, line {line}: a NUL byte at position {before + piece.index(chr(0)) + 1}; remove it"
        )
    if piece.isascii():
        return
    try:
        piece.encode()
    except (
        UnicodeEncodeError
    ) as error:  # what surrogateescape made of a byte that is not UTF-8
        byte, position = ord(piece[error.start]) - 0xDC00, before + error.start + 1
        raise DataError(
            f"{name}, line {line}: byte 0x{byte:02x} at position {position}; the file is not UTF-8: save it as UTF-8"
        ) from None
