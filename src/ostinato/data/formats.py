"""Maps the suffix of a file name to a reader of rows, for training and prediction."""

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

_PARQUET_BUFFER = 1 << 16  # bytes; reads pages instead of whole row groups
_PARQUET_ROWS = 100


def read_stream(
    stream: BinaryIO,
    name: str,
    columns: Columns,
) -> Iterator[Row]:
    """Reads standard input: JSON lines if the first line begins with "{", else texts.

    Raises:
        DataError: a stream with both.
    """
    lines = decode(stream, name)
    first = next(lines, None)
    if first is None:
        return iter(())
    all_lines = chain([first], lines)
    if first.lstrip().startswith("{"):
        return read_json_lines(all_lines, name, columns)
    return _read_lines(_refuse_json(all_lines, name), name, columns)


def _read_txt(
    stream: BinaryIO,
    name: str,
    columns: Columns,
) -> Iterator[Row]:
    lines = decode(stream, name)
    return _read_lines(lines, name, columns)


def _read_lines(
    lines: Iterable[str],
    name: str,
    columns: Columns,
) -> Iterator[Row]:
    hint = "; plain lines have one text each: give JSON lines or csv"
    columns.check([columns.text], name, hint)
    for number, line in enumerate(lines, start=1):
        text = line.rstrip("\r\n")
        where = f"line {number}"
        yield columns.row(where, {columns.text: text})


def _refuse_json(lines: Iterable[str], name: str) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if line.startswith('{"') and line.rstrip().endswith("}"):
            raise DataError(
                f"{name}, line {number}: JSON, but line 1 is plain text; "
                "use one format, or a .txt file, in which every line is a text"
            )
        yield line


def _read_parquet(
    stream: BinaryIO,
    name: str,
    columns: Columns,
) -> Iterator[Row]:
    with pq.ParquetFile(
        stream,
        buffer_size=_PARQUET_BUFFER,
        pre_buffer=False,
    ) as parquet:
        columns.check(parquet.schema_arrow.names, name)
        batches = parquet.iter_batches(
            batch_size=_PARQUET_ROWS,
            use_threads=False,
            columns=columns.names,
        )
        number = 0
        for batch in batches:
            last = number + len(batch)
            first = number + 1
            where = f"{name}, rows {first} to {last}"
            for values in _values(batch, where):
                number += 1
                yield columns.row(f"row {number}", values)


def _values(batch: pa.RecordBatch, where: str) -> list[dict[str, Any]]:
    try:
        values: list[dict[str, Any]] = batch.to_pylist()
    # A text that is not UTF-8, or a date that Python cannot represent.
    except (ValueError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{where}: a value cannot be read ({reason})") from error
    return values


READERS: dict[str, Reader] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".json": read_json,
    ".jsonl": read_jsonl,
    ".txt": _read_txt,
    ".parquet": _read_parquet,
}
