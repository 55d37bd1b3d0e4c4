"""Makes Arrow columns that respect the 32-bit offsets of strings."""

from collections.abc import Iterable, Iterator

import pyarrow as pa

_BATCH_ROWS = 1000
# A batch ends with the text that reaches this limit. That text has at most 2^28
# characters of 4 bytes, so that a batch stays below 2^31 bytes.
_BATCH_CHARACTERS = 1 << 27


def batched(rows: Iterable[list[str]]) -> Iterator[list[list[str]]]:
    """Groups rows of texts into batches that an Arrow string array can hold."""
    batch: list[list[str]] = []
    num_characters = 0
    for texts in rows:
        batch.append(texts)
        for text in texts:
            num_characters += len(text)
        has_most_rows = len(batch) == _BATCH_ROWS
        if has_most_rows or num_characters >= _BATCH_CHARACTERS:
            yield batch
            batch = []
            num_characters = 0
    if batch:
        yield batch


def text_columns(batch: list[list[str]], schema: pa.Schema) -> pa.RecordBatch:
    """Turns rows of texts into string columns."""
    columns = zip(*batch, strict=True)
    arrays = [pa.array(texts, pa.string()) for texts in columns]
    return pa.record_batch(arrays, schema=schema)
