"""Tokenises texts once; the cache serves the same texts and tokenizer after that.

The result depends on the texts, the tokenizer and the maximum length only, not on the
number of processes. A damaged cache file is made again. Rows are not padded.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tokenizers
import torch
import transformers
from datasets import Dataset, Features, List, Value
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ostinato.data import token_cache
from ostinato.data.assets import cache_folder
from ostinato.data.batching import Indices
from ostinato.data.splits import Split
from ostinato.errors import DataError

_COLUMNS = {"input_ids": "int32", "token_type_ids": "int8"}
_KEY_LENGTH = 32


@dataclass(frozen=True)
class TokenisedSplit:
    """Token ids of a split, in row order.

    Attributes:
        name: name of the split.
        rows: columns "input_ids" and, if the tokenizer makes them, "token_type_ids";
            without padding.
        lengths: tokens per row, int32 [num_rows].
        labels: int64 [num_rows], float32 [num_rows, num_labels] (multi-label), or
            float32 [num_rows] (regression).
        truncated: share of rows that the maximum length shortened.
        weights: the weight of each row in the loss, float32 [num_rows]; None: 1.
        distributions: the probability of each class, float32 [num_rows, num_labels];
            None if a row has one label.
    """

    name: str
    rows: Dataset
    lengths: NDArray[np.int32]
    labels: NDArray[Any]
    truncated: float
    weights: NDArray[np.float32] | None = None
    distributions: NDArray[np.float32] | None = None

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the token ids and lengths, column by column.

        It does not depend on the chunks of the Arrow table.
        """
        digest = hashlib.sha256()
        for name in self.rows.column_names:
            column = self.rows.data.column(name)
            header = f"{name} {column.type} {len(column)}"
            digest.update(header.encode())
            _update(digest, pc.list_value_length(column))
            _update(digest, pc.list_flatten(column))
        return digest.hexdigest()

    def targets(self, indices: Indices) -> tuple[Tensor, Tensor | None]:
        """What the loss reads of some rows: their labels, and their weights if any."""
        source = self.labels if self.distributions is None else self.distributions
        labels = torch.from_numpy(source[indices])
        if self.weights is None:
            return labels, None
        return labels, torch.from_numpy(self.weights[indices])

    def input_ids(self) -> NDArray[np.int32]:
        """Token ids of all rows, one row after another, [num_tokens]."""
        column = self.rows.data.column("input_ids")
        ids: NDArray[np.int32] = pc.list_flatten(column).to_numpy()
        return ids


def _update(digest: Any, values: pa.ChunkedArray) -> None:
    for chunk in values.chunks:
        content = np.ascontiguousarray(chunk.to_numpy())
        digest.update(content.data)


def tokenise(
    split: Split,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    num_workers: int = 1,
) -> TokenisedSplit:
    """Tokenises the texts of a split; two texts of a row are encoded as a pair.

    Args:
        split: the rows.
        tokenizer: a fast tokenizer.
        max_length: maximum number of tokens, special tokens included. In a pair, the
            longer text is truncated first.
        num_workers: number of processes.

    Raises:
        DataError: the tokenizer is not a fast one.
        AssetError: the cache cannot be written.
    """
    if not tokenizer.is_fast:
        raise DataError(
            f"{tokenizer.name_or_path}: has no fast tokenizer; "
            "choose another model.name"
        )
    key = _key(split, tokenizer, max_length)
    with (
        cache_folder("tokens") as folder,
        FileLock(folder / f"{key}.lock"),
    ):
        is_cached = token_cache.is_complete(folder, key)
        if not is_cached:
            token_cache.remove(folder, key)
        file = folder / f"{key}.arrow"
        table = _map_texts(split.rows, tokenizer, max_length, num_workers, file)
        if not is_cached:
            token_cache.write_record(folder, key, table)
    input_ids = table.data.column("input_ids")
    lengths = pc.list_value_length(input_ids).to_numpy()
    is_truncated = table.data.column("truncated")
    truncated = pc.mean(is_truncated).as_py()
    return TokenisedSplit(
        name=split.name,
        rows=table.remove_columns("truncated"),
        lengths=lengths.astype(np.int32),
        labels=split.targets,
        truncated=truncated,
        weights=split.weights,
        distributions=split.distributions,
    )


def _map_texts(
    rows: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    num_workers: int,
    file: Path,
) -> Dataset:
    """Encodes the rows to a file, or reads the file if it exists."""
    columns = [name for name in ("text", "text_pair") if name in rows.column_names]
    names = [name for name in _COLUMNS if name in tokenizer.model_input_names]
    features = {}
    for name in names:
        features[name] = List(Value(_COLUMNS[name]))
    features["truncated"] = Value("bool")
    datasets.disable_progress_bars()
    return rows.map(
        _encode,
        batched=True,
        input_columns=columns,
        remove_columns=rows.column_names,
        fn_kwargs={
            "tokenizer": tokenizer,
            "max_length": max_length,
            "names": names,
        },
        features=Features(features),
        num_proc=num_workers if num_workers > 1 else None,
        new_fingerprint=file.stem,
        cache_file_name=str(file),
        load_from_cache_file=True,
    )


def _encode(
    *texts: list[str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    names: list[str],
) -> dict[str, list[Any]]:
    encoded = tokenizer(
        *texts,
        truncation=True,
        max_length=max_length,
        padding=False,
    )
    columns: dict[str, list[Any]] = {}
    for name in names:
        columns[name] = encoded[name]
    encodings = encoded.encodings or []
    columns["truncated"] = [bool(encoding.overflowing) for encoding in encodings]
    return columns


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of all that decides the ids of a text, except the maximum length."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    # These come from the last call of the tokenizer.
    backend.pop("truncation")
    backend.pop("padding")
    parts = [backend, tokenizer.truncation_side, tokenizer.model_input_names]
    # The JSON of the backend does not contain this option.
    if getattr(tokenizer, "split_special_tokens", False):
        parts.append("split_special_tokens")
    return _digest(parts)


def _key(
    split: Split,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> str:
    """Name of the tokenised texts in the cache."""
    versions = [tokenizers.__version__, transformers.__version__]
    parts = [split.sha256, tokenizer_digest(tokenizer), max_length, versions]
    return _digest(parts)[:_KEY_LENGTH]


def _digest(parts: list[Any]) -> str:
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
