"""Makes Arrow columns that respect the 32-bit offsets of strings and lists."""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_BATCH_ROWS = 1000
# A batch ends with the text that reaches this limit. That text has at most 2^28
# characters of 4 bytes, so that a batch stays below 2^31 bytes.
_BATCH_CHARACTERS = 1 << 27
_LARGEST_OFFSET = 2**31 - 1


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


def label_column(
    targets: NDArray[np.generic], longest: int = _LARGEST_OFFSET
) -> pa.Array | pa.ChunkedArray:
    """Turns targets into a column.

    Args:
        targets: one value per row, [num_rows], or a list per row, [num_rows, width].
        longest: most values in a chunk of lists.
    """
    if targets.ndim == 1:
        return pa.array(targets)
    width = max(1, targets.shape[1])
    rows_per_chunk = max(1, longest // width)
    chunks = []
    for start in range(0, len(targets), rows_per_chunk):
        end = start + rows_per_chunk
        chunks.append(_lists(targets[start:end]))
    return pa.chunked_array(chunks, pa.list_(pa.float32()))


def _lists(values: NDArray[np.generic]) -> pa.ListArray:
    width = values.shape[1]
    num_offsets = len(values) + 1
    offsets = np.arange(num_offsets, dtype=np.int32) * width
    flat = values.ravel()
    return pa.ListArray.from_arrays(offsets, flat)
