"""Reads rows from their sources, checks each, and stores the texts in the cache.

The same rows give the same content for every file format. The memory in use does not
grow with the texts.
"""

import hashlib
import json
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from datasets import Dataset

from ostinato.data.arrow_columns import batched, text_columns
from ostinato.data.assets import cache_folder
from ostinato.data.columns import Row
from ostinato.data.files import RowSource
from ostinato.data.labels import LabelFormat
from ostinato.data.rows import Rows
from ostinato.data.targets import collector
from ostinato.data.texts import text_of
from ostinato.data.weights import parse_weight
from ostinato.errors import DataError

_PAIR_SEPARATOR = "\x1f"  # white space, so normalised texts do not contain it
_SHA256_BYTES = 32


def scan(
    name: str,
    sources: Iterable[RowSource],
    label_format: LabelFormat,
    with_pair: bool,
    labels: Sequence[str] | None = None,
    with_weights: bool = False,
) -> Rows:
    """Reads rows once and stores their texts in the cache, named by their content.

    Args:
        name: name of the split.
        sources: the sources of the rows.
        label_format: how labels are written.
        with_pair: rows have a second text.
        labels: the allowed classes, in order; None takes the classes of the rows, in
            natural order.
        with_weights: rows have a weight.

    Raises:
        DataError: an invalid row, a source without rows, or a class that is not in
            `labels`.
        AssetError: the cache cannot be written.
    """
    scanner = _Scanner(label_format, with_pair, labels, with_weights)
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
        with_weights: bool,
    ) -> None:
        self._targets = collector(label_format, labels)
        self._with_pair = with_pair
        self._text_keys = array("Q")
        self._weights: array[float] | None = array("f") if with_weights else None
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
            ValueError: an invalid text, label or weight.
        """
        texts = [text_of(row.text)]
        if self._with_pair:
            texts.append(text_of(row.pair))
        label = self._targets.add(row.label)
        content = json.dumps([label, *texts], ensure_ascii=False)
        digest = hashlib.sha256(content.encode())
        self._digests += digest.digest()
        if self._weights is not None:
            self._weights.append(parse_weight(row.weight))
        normalised = [" ".join(text.split()) for text in texts]
        self._text_keys.append(_text_key(normalised))
        self._empty.append(not any(normalised))
        return texts

    @property
    def sha256(self) -> str:
        """SHA-256 of the texts and labels of all rows so far."""
        return hashlib.sha256(self._digests).hexdigest()

    def rows(self, name: str, texts: Dataset) -> Rows:
        """Combines the recorded values with the stored texts.

        Args:
            name: name of the split.
            texts: the stored texts, in row order.
        """
        arrays = self._targets.arrays()
        digests = np.frombuffer(self._digests, np.uint8)
        weights = None
        if self._weights is not None:
            weights = np.frombuffer(self._weights, np.float32)
        return Rows(
            name=name,
            table=texts,
            labels=arrays.labels,
            targets=arrays.targets,
            label_keys=arrays.label_keys,
            text_keys=np.frombuffer(self._text_keys, np.uint64),
            empty=np.frombuffer(self._empty, np.bool_),
            digests=digests.reshape(-1, _SHA256_BYTES),
            weights=weights,
            distributions=arrays.distributions,
        )


def _text_key(normalised: list[str]) -> int:
    """64-bit hash of the normalised texts of a row."""
    text = _PAIR_SEPARATOR.join(normalised)
    digest = hashlib.blake2b(text.encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "big")
