"""From rows as read to rows to train on: uniform labels, texts in a memory-mapped Arrow file, digests beside them.

Promises: the same rows give the same content, whatever file format they came from; memory stays flat.
"""

import hashlib
import json
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, concatenate_datasets
from datasets.table import InMemoryTable
from numpy.typing import NDArray

from ostinato.config import Task
from ostinato.data.assets import cache_folder
from ostinato.data.columns import Row
from ostinato.data.files import RowSource
from ostinato.data.labels import LabelFormat, natural_sorted
from ostinato.data.texts import shown, text_of
from ostinato.errors import DataError

_BATCH = 1000
_BATCH_CHARACTERS = (
    1 << 27
)  # with one more text of 2^28 characters, of 4 bytes each, below 2^31 bytes
TEXT_NORMALISATION = (
    "surrounding white space cut, runs of it count as one space, case counts"
)


@dataclass(frozen=True)
class Rows:
    """Rows of a split; everything is in row order.

    Attributes:
        name: train, val or test.
        table: columns "text", perhaps "text_pair", and "label" (int64 | list of float32 | float32).
        labels: names of the classes; empty for regression.
        targets: the label column: int64 [n] | float32 [n, num_labels] | float32 [n].
        label_keys: equal for equal labels: number of the label combination, or the value itself (regression) [n].
        text_keys: 64-bit hash of the normalised text [n].
        empty: rows without any text [n].
        digests: SHA-256 of each row [n, 32].
    """

    name: str
    table: Dataset
    labels: tuple[str, ...]
    targets: NDArray[Any]
    label_keys: NDArray[Any]
    text_keys: NDArray[np.uint64]
    empty: NDArray[np.bool_]
    digests: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.text_keys)

    def select(self, name: str, indices: NDArray[np.int64]) -> "Rows":
        """The given rows, in that order, as another split; texts are not copied."""
        arrays = ("targets", "label_keys", "text_keys", "empty", "digests")
        return replace(
            self,
            name=name,
            table=self.table.select(indices),
            **{field: getattr(self, field)[indices] for field in arrays},
        )

    @property
    def sha256(self) -> str:
        """SHA-256 of the content: texts as the tokenizer sees them and label names, row by row."""
        return hashlib.sha256(self.digests.tobytes()).hexdigest()


def scan(
    name: str,
    sources: Iterable[RowSource],
    label_format: LabelFormat,
    with_pair: bool,
    labels: Sequence[str] | None = None,
) -> Rows:
    """Reads rows once, checks each, and stores their texts in the cache under the hash of their content.

    Args:
        name: of the split.
        sources: where the rows come from.
        label_format: what a label is.
        with_pair: rows have a second text.
        labels: the classes that may occur, in order; None takes those that occur, natural-sorted.

    Raises:
        DataError: an unusable row, a source without rows, a class that is not among `labels`.
        AssetError: the cache cannot be written.
    """
    scanner = _Scanner(label_format, with_pair, labels)
    with (
        cache_folder("rows") as folder,
        tempfile.TemporaryDirectory(prefix=".", dir=folder) as temporary,
    ):
        file = Path(temporary) / "rows.arrow"
        with (
            pa.OSFile(str(file), "wb") as stream,
            pa.ipc.new_stream(stream, scanner.schema) as writer,
        ):
            for source in sources:
                for batch in scanner.batches(source):
                    writer.write_batch(batch)
        # Named by content: two processes that store the same rows replace each other's file by an equal one.
        stored = file.replace(folder / f"{scanner.sha256}.arrow")
    return scanner.rows(name, Dataset.from_file(str(stored)))


class _Scanner:
    """Collects what is kept in memory of each row, a few numbers, while the texts pass by."""

    def __init__(
        self, label_format: LabelFormat, with_pair: bool, labels: Sequence[str] | None
    ) -> None:
        self._format = label_format
        self._labels = labels
        self._label_sets: dict[tuple[str, ...], int] = {}
        self._label_keys: array[Any] = array(
            "f" if label_format.task is Task.regression else "q"
        )
        self._text_keys = array("Q")
        self._empty = bytearray()
        self._digests = bytearray()
        columns = ["text", "text_pair"] if with_pair else ["text"]
        self.schema = pa.schema([(column, pa.string()) for column in columns])

    def batches(self, source: RowSource) -> Iterator[pa.RecordBatch]:
        """Checks and counts the rows of a source; yields their texts."""
        before = len(self._text_keys)
        for texts in _batches(self._take(source.name, row) for row in source.rows):
            yield pa.record_batch(
                [pa.array(column, pa.string()) for column in zip(*texts, strict=True)],
                schema=self.schema,
            )
        if len(self._text_keys) == before:
            raise DataError(f"{source.name}: holds no rows")

    def _take(self, source: str, row: Row) -> list[str]:
        try:
            texts = [
                text_of(value) for value in (row.text, row.pair)[: len(self.schema)]
            ]
            label = self._format.parse(row.label)
            self._label_keys.append(
                label if isinstance(label, float) else self._label_key(label)
            )
            content = json.dumps([label, *texts], ensure_ascii=False).encode()
        except ValueError as error:
            raise DataError(f"{source}, {row.where}: {error}") from None
        # Normalised text holds no \x1f (it is white space), so that it parts the texts of a pair.
        normal = [" ".join(text.split()) for text in texts]
        key = hashlib.blake2b("\x1f".join(normal).encode(), digest_size=8).digest()
        self._text_keys.append(int.from_bytes(key, "big"))
        self._empty.append(not any(normal))
        self._digests += hashlib.sha256(content).digest()
        return texts

    def _label_key(self, names: tuple[str, ...]) -> int:
        if names not in self._label_sets:
            for name in names:
                if self._labels is not None and name not in self._labels:
                    near = get_close_matches(name, self._labels, n=1)
                    guess = f" (did you mean {shown(near[0])}?)" if near else ""
                    raise ValueError(
                        f"the label {shown(name)} does not occur in train{guess}; correct it or add such rows to train"
                    )
            self._label_sets[names] = len(self._label_sets)
        return self._label_sets[names]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self._digests).hexdigest()

    def rows(self, name: str, texts: Dataset) -> Rows:
        """Puts the collected numbers beside the stored texts."""
        label_keys = np.frombuffer(self._label_keys, self._label_keys.typecode)
        labels = tuple(
            natural_sorted({n for names in self._label_sets for n in names})
            if self._labels is None
            else self._labels
        )
        targets = (
            label_keys
            if self._format.task is Task.regression
            else self._targets(labels)[label_keys]
        )
        column = pa.array(targets) if targets.ndim == 1 else _list_array(targets)
        table = concatenate_datasets(
            [texts, Dataset(InMemoryTable.from_arrays([column], ["label"]))], axis=1
        )
        return Rows(
            name=name,
            table=table,
            labels=labels,
            targets=targets,
            label_keys=label_keys,
            text_keys=np.frombuffer(self._text_keys, np.uint64),
            empty=np.frombuffer(self._empty, np.bool_),
            digests=np.frombuffer(self._digests, np.uint8).reshape(-1, 32),
        )

    def _targets(self, labels: tuple[str, ...]) -> NDArray[Any]:
        """Target of each label combination: class number, or multi-hot row."""
        index = {label: number for number, label in enumerate(labels)}
        if self._format.task is Task.single_label:
            return np.array([index[name] for (name,) in self._label_sets], np.int64)
        multi_hot = np.zeros((len(self._label_sets), len(labels)), np.float32)
        for names, number in self._label_sets.items():
            multi_hot[number, [index[name] for name in names]] = 1
        return multi_hot


def _batches(rows: Iterable[list[str]]) -> Iterator[list[list[str]]]:
    """Rows in batches whose texts an Arrow string array can hold: its offsets are 32-bit."""
    batch: list[list[str]] = []
    length = 0
    for texts in rows:
        batch.append(texts)
        length += sum(map(len, texts))
        if len(batch) == _BATCH or length >= _BATCH_CHARACTERS:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch


def _list_array(
    values: NDArray[np.float32], longest: int = 2**31 - 1
) -> pa.ChunkedArray:
    """Each row of `values` [n, width] as a list; a chunk's offsets are 32-bit, so it has at most `longest` values."""
    height = max(1, longest // max(1, values.shape[1]))
    return pa.chunked_array(
        [
            _lists(values[start : start + height])
            for start in range(0, len(values), height)
        ],
        pa.list_(pa.float32()),
    )


def _lists(values: NDArray[np.float32]) -> pa.ListArray:
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(offsets, values.ravel())
