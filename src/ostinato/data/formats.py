"""The formats of rows, by the suffix of the file's name: one reader each, for training and for prediction."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ostinato.data.columns import Columns, Row
from ostinato.data.decoding import decode
from ostinato.data.delimited import read_csv, read_tsv
from ostinato.data.json_rows import read_json, read_json_lines, read_jsonl
from ostinato.errors import DataError

Reader = Callable[[BinaryIO, str, Columns], Iterator[Row]]


def _read_txt(stream: BinaryIO, name: str, columns: Columns) -> Iterator[Row]:
    return _plain_lines(decode(stream, name), name, columns)


def read_stream(stream: BinaryIO, name: str, columns: Columns) -> Iterator[Row]:
    """Rows of standard input: JSON lines if the first line begins with "{", else one text a line.

    Raises:
        DataError: a stream that is both.
    """
    lines = decode(stream, name)
    first = next(lines, None)
    if first is None:
        return iter(())
    if first.lstrip().startswith("{"):
        return read_json_lines(chain([first], lines), name, columns)
    return _plain_lines(_no_json(chain([first], lines), name), name, columns)


def _plain_lines(lines: Iterable[str], name: str, columns: Columns) -> Iterator[Row]:
    columns.check(
        [columns.text], name, "; plain lines have one text each: give JSON lines or csv"
    )
    for number, line in enumerate(lines, start=1):
        yield columns.row(f"line {number}", {columns.text: line.rstrip("\r\n")})


def _no_json(lines: Iterable[str], name: str) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if line.startswith('{"') and line.rstrip().endswith("}"):
            raise DataError(
                f"{name}, line {number}: JSON, but line 1 is plain text; give one or the other, "
                "or a .txt file to take every line as it is"
            )
        yield line


def _read_parquet(stream: BinaryIO, name: str, columns: Columns) -> Iterator[Row]:
    with pq.ParquetFile(
        stream, buffer_size=1 << 16, pre_buffer=False
    ) as parquet:  # pages, not whole row groups
        columns.check(parquet.schema_arrow.names, name)
        number = 0
        for batch in parquet.iter_batches(
            batch_size=100, use_threads=False, columns=columns.names
        ):
            for values in _values(
                batch, f"{name}, rows {number + 1} to {number + len(batch)}"
            ):
                number += 1
                yield columns.row(f"row {number}", values)


def _values(batch: pa.RecordBatch, where: str) -> list[dict[str, Any]]:
    try:
        values: list[dict[str, Any]] = batch.to_pylist()
    except (
        ValueError,
        OverflowError,
    ) as error:  # text that is not UTF-8, dates that Python does not know
        raise DataError(
            f"{where}: a value cannot be read ({str(error).splitlines()[0]})"
        ) from error
    return values


READERS: dict[str, Reader] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".json": read_json,
    ".jsonl": read_jsonl,
    ".txt": _read_txt,
    ".parquet": _read_parquet,
}
