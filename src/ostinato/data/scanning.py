"""Reads rows from their sources, checks each, and stores the texts in the cache.

The same rows give the same content for every file format. The memory in use does not
grow with the texts.
"""

import hashlib
import json
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset
from numpy.typing import NDArray

from ostinato.config import Task
from ostinato.data.arrow_columns import batched, text_columns
from ostinato.data.assets import cache_folder
from ostinato.data.columns import Row
from ostinato.data.files import RowSource
from ostinato.data.labels import LabelFormat, natural_sorted
from ostinato.data.rows import Rows
from ostinato.data.texts import shown, text_of
from ostinato.errors import DataError

_PAIR_SEPARATOR = "\x1f"  # white space, so normalised texts do not contain it
_SHA256_BYTES = 32


def scan(
    name: str,
    sources: Iterable[RowSource],
    label_format: LabelFormat,
    with_pair: bool,
    labels: Sequence[str] | None = None,
) -> Rows:
    """Reads rows once and stores their texts in the cache, named by their content.

    Args:
        name: name of the split.
        sources: the sources of the rows.
        label_format: how labels are written.
        with_pair: rows have a second text.
        labels: the allowed classes, in order; None takes the classes of the rows, in
            natural order.

    Raises:
        DataError: an invalid row, a source without rows, or a class that is not in
            `labels`.
        AssetError: the cache cannot be written.
    """
    scanner = _Scanner(label_format, with_pair, labels)
    with (
        cache_folder("rows") as folder,
        tempfile.TemporaryDirectory(prefix=".", dir=folder) as temporary,
    ):
        file = Path(temporary) / "rows.arrow"
        _write(file, scanner, sources)
        # Two processes that store the same rows replace each other's file by an equal
        # one, because the name depends on the content.
        target = folder / f"{scanner.sha256}.arrow"
        stored = file.replace(target)
    texts = Dataset.from_file(str(stored))
    return scanner.rows(name, texts)


def _write(
    file: Path,
    scanner: "_Scanner",
    sources: Iterable[RowSource],
) -> None:
    with (
        pa.OSFile(str(file), "wb") as stream,
        pa.ipc.new_stream(stream, scanner.schema) as writer,
    ):
        for source in sources:
            for batch in scanner.batches(source):
                writer.write_batch(batch)


class _Scanner:
    """Checks rows; keeps labels, digests and flags in memory, and passes texts on."""

    def __init__(
        self,
        label_format: LabelFormat,
        with_pair: bool,
        labels: Sequence[str] | None,
    ) -> None:
        self._format = label_format
        self._is_regression = label_format.task is Task.regression
        self._with_pair = with_pair
        self._labels = labels
        self._label_sets: dict[tuple[str, ...], int] = {}
        typecode = "f" if self._is_regression else "q"
        self._label_keys: array[Any] = array(typecode)
        self._text_keys = array("Q")
        self._empty = bytearray()
        self._digests = bytearray()
        fields = [("text", pa.string())]
        if with_pair:
            fields.append(("text_pair", pa.string()))
        self.schema = pa.schema(fields)

    def batches(self, source: RowSource) -> Iterator[pa.RecordBatch]:
        """Checks and counts the rows of a source; yields their texts."""
        num_rows_before = len(self._text_keys)
        for batch in batched(self._texts(source)):
            yield text_columns(batch, self.schema)
        if len(self._text_keys) == num_rows_before:
            raise DataError(f"{source.name}: holds no rows")

    def _texts(self, source: RowSource) -> Iterator[list[str]]:
        for row in source.rows:
            try:
                texts = self._add(row)
            except ValueError as error:
                where = f"{source.name}, {row.where}"
                raise DataError(f"{where}: {error}") from None
            yield texts

    def _add(self, row: Row) -> list[str]:
        """Records a row; returns its texts.

        Raises:
            ValueError: an invalid text or label.
        """
        texts = [text_of(row.text)]
        if self._with_pair:
            texts.append(text_of(row.pair))
        label = self._format.parse(row.label)
        if isinstance(label, float):
            self._label_keys.append(label)
        else:
            self._label_keys.append(self._label_key(label))
        content = json.dumps([label, *texts], ensure_ascii=False)
        digest = hashlib.sha256(content.encode())
        self._digests += digest.digest()
        normalised = [" ".join(text.split()) for text in texts]
        self._text_keys.append(_text_key(normalised))
        self._empty.append(not any(normalised))
        return texts

    def _label_key(self, names: tuple[str, ...]) -> int:
        """Number of a label combination."""
        if names not in self._label_sets:
            for name in names:
                self._check_label(name)
            self._label_sets[names] = len(self._label_sets)
        return self._label_sets[names]

    def _check_label(self, name: str) -> None:
        if self._labels is None or name in self._labels:
            return
        near = get_close_matches(name, self._labels, n=1)
        guess = f" (did you mean {shown(near[0])}?)" if near else ""
        raise ValueError(
            f"the label {shown(name)} does not occur in train{guess}; "
            "correct it, or add rows with this label to train"
        )

    @property
    def sha256(self) -> str:
        """SHA-256 of all rows so far; see `Rows.sha256`."""
        return hashlib.sha256(self._digests).hexdigest()

    def rows(self, name: str, texts: Dataset) -> Rows:
        """Combines the recorded values with the stored texts.

        Args:
            name: name of the split.
            texts: the stored texts, in row order.
        """
        label_keys = np.frombuffer(self._label_keys, self._label_keys.typecode)
        labels = self._class_names()
        targets: NDArray[Any] = label_keys
        if not self._is_regression:
            targets = self._target_of_each_set(labels)[label_keys]
        digests = np.frombuffer(self._digests, np.uint8)
        return Rows(
            name=name,
            table=texts,
            labels=labels,
            targets=targets,
            label_keys=label_keys,
            text_keys=np.frombuffer(self._text_keys, np.uint64),
            empty=np.frombuffer(self._empty, np.bool_),
            digests=digests.reshape(-1, _SHA256_BYTES),
        )

    def _class_names(self) -> tuple[str, ...]:
        if self._labels is not None:
            return tuple(self._labels)
        names: set[str] = set()
        for label_set in self._label_sets:
            names.update(label_set)
        return tuple(natural_sorted(names))

    def _target_of_each_set(self, labels: tuple[str, ...]) -> NDArray[Any]:
        """Target of each label combination.

        Args:
            labels: names of the classes.

        Returns:
            Class numbers, int64 [num_sets] (single-label), or multi-hot rows,
            float32 [num_sets, num_labels].
        """
        class_numbers = {label: number for number, label in enumerate(labels)}
        num_sets = len(self._label_sets)
        if self._format.task is Task.single_label:
            targets = np.zeros(num_sets, np.int64)
            for (name,), set_number in self._label_sets.items():
                targets[set_number] = class_numbers[name]
            return targets
        shape = (num_sets, len(labels))
        multi_hot = np.zeros(shape, np.float32)
        for names, set_number in self._label_sets.items():
            for name in names:
                class_number = class_numbers[name]
                multi_hot[set_number, class_number] = 1
        return multi_hot


def _text_key(normalised: list[str]) -> int:
    """64-bit hash of the normalised texts of a row."""
    text = _PAIR_SEPARATOR.join(normalised)
    digest = hashlib.blake2b(text.encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "big")
