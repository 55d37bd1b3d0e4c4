"""Texts to token ids, once: a second start with the same texts, tokenizer and maximum length reads the cache.

Promises: the result depends on nothing else (not on the number of processes). Never pads: batches do that.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import pyarrow.compute as pc
import tokenizers
import transformers
from datasets import Dataset, Features, List, Value
from filelock import FileLock
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from ostinato.assets import cache_folder
from ostinato.data.splits import Split
from ostinato.errors import DataError

_COLUMNS = {"input_ids": "int32", "token_type_ids": "int8"}


@dataclass(frozen=True)
class TokenisedSplit:
    """Token ids of a split, in row order.

    Attributes:
        name: of the split.
        rows: columns "input_ids" and, where the tokenizer makes them, "token_type_ids"; unpadded.
        lengths: tokens per row, int32 [n].
        labels: int64 [n], float32 [n, num_labels] (multi_label) or float32 [n] (regression).
        truncated: share of rows that the maximum length cut.
    """

    name: str
    rows: Dataset
    lengths: NDArray[np.int32]
    labels: NDArray[Any]
    truncated: float

    def input_ids(self) -> NDArray[np.int32]:
        """Token ids of all rows, one row after another, [num_tokens]."""
        ids: NDArray[np.int32] = pc.list_flatten(self.rows.data.column("input_ids")).to_numpy()
        return ids


def tokenise(split: Split, tokenizer: PreTrainedTokenizerBase, max_length: int, num_workers: int = 1) -> TokenisedSplit:
    """Tokenises the texts of a split; pairs as true pairs.

    Args:
        split: the rows.
        tokenizer: a fast tokenizer.
        max_length: longest row in tokens, special tokens included; of a pair, the longer text is cut first.
        num_workers: processes.

    Raises:
        DataError: no fast tokenizer.
        AssetError: the cache cannot be written.
    """
    if not tokenizer.is_fast:
        raise DataError(f"{tokenizer.name_or_path}: has no fast tokenizer; choose another model.name")
    columns = [name for name in ("text", "text_pair") if name in split.rows.column_names]
    names = [name for name in _COLUMNS if name in tokenizer.model_input_names]
    key = _key(split, tokenizer, max_length)
    datasets.disable_progress_bars()
    with cache_folder("tokens") as folder, FileLock(folder / f"{key}.lock"):
        mapped = split.rows.map(
            _encode,
            batched=True,
            input_columns=columns,
            remove_columns=split.rows.column_names,
            fn_kwargs={"tokenizer": tokenizer, "max_length": max_length, "names": names},
            features=Features({name: List(Value(_COLUMNS[name])) for name in names} | {"truncated": Value("bool")}),
            num_proc=num_workers if num_workers > 1 else None,
            new_fingerprint=key,
            cache_file_name=str(folder / f"{key}.arrow"),
            load_from_cache_file=True,
        )
    return TokenisedSplit(
        name=split.name,
        rows=mapped.remove_columns("truncated"),
        lengths=pc.list_value_length(mapped.data.column("input_ids")).to_numpy().astype(np.int32),
        labels=_labels(split.rows),
        truncated=pc.mean(mapped.data.column("truncated")).as_py(),
    )


def _encode(
    *texts: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int, names: list[str]
) -> dict[str, list[Any]]:
    encoded = tokenizer(*texts, truncation=True, max_length=max_length, padding=False)
    rows = {name: encoded[name] for name in names}
    return rows | {"truncated": [bool(encoding.overflowing) for encoding in encoded.encodings or []]}


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of all that decides which ids a text gets, its maximum length left out."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    for last_call in ("truncation", "padding"):  # what the tokenizer was last asked for, not what it is
        backend.pop(last_call)
    return _digest([backend, tokenizer.truncation_side, tokenizer.model_input_names])


def _key(split: Split, tokenizer: PreTrainedTokenizerBase, max_length: int) -> str:
    versions = [tokenizers.__version__, transformers.__version__]
    return _digest([split.sha256, tokenizer_digest(tokenizer), max_length, versions])[:32]


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _labels(rows: Dataset) -> NDArray[Any]:
    column = rows.with_format("arrow").select_columns("label")[:].column("label").combine_chunks()
    if not isinstance(rows.features["label"], List):
        values: NDArray[Any] = column.to_numpy()
        return values
    return np.ascontiguousarray(column.flatten().to_numpy().reshape(len(rows), -1))
