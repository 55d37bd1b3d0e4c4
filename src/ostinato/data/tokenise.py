"""Texts to token ids, once: a second start with the same texts, tokenizer and maximum length reads the cache.

Promises: the result depends on nothing else (not on the number of processes); a cached file that is not as it was
written is made again. Never pads: batches do that.
"""

import hashlib
import json
import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
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

from ostinato.data.assets import cache_folder
from ostinato.data.splits import Split
from ostinato.errors import DataError
from ostinato.record.digests import digest_file
from ostinato.storage.atomic import write_json

log = logging.getLogger(__name__)

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

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the token ids and lengths, column by column; the same however Arrow cuts them into chunks."""
        digest = hashlib.sha256()
        for name in self.rows.column_names:
            column = self.rows.data.column(name)
            digest.update(f"{name} {column.type} {len(column)}".encode())
            for part in (pc.list_value_length(column), pc.list_flatten(column)):
                for chunk in part.chunks:
                    digest.update(np.ascontiguousarray(chunk.to_numpy()).data)
        return digest.hexdigest()

    def input_ids(self) -> NDArray[np.int32]:
        """Token ids of all rows, one row after another, [num_tokens]."""
        ids: NDArray[np.int32] = pc.list_flatten(
            self.rows.data.column("input_ids")
        ).to_numpy()
        return ids


def tokenise(
    split: Split,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    num_workers: int = 1,
) -> TokenisedSplit:
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
        raise DataError(
            f"{tokenizer.name_or_path}: has no fast tokenizer; choose another model.name"
        )
    columns = [
        name for name in ("text", "text_pair") if name in split.rows.column_names
    ]
    names = [name for name in _COLUMNS if name in tokenizer.model_input_names]
    key = _key(split, tokenizer, max_length)
    datasets.disable_progress_bars()
    with cache_folder("tokens") as folder, FileLock(folder / f"{key}.lock"):
        record = folder / f"{key}.json"
        whole = _is_whole(folder, record)
        if not whole:
            _remove(folder, key)
        mapped = split.rows.map(
            _encode,
            batched=True,
            input_columns=columns,
            remove_columns=split.rows.column_names,
            fn_kwargs={
                "tokenizer": tokenizer,
                "max_length": max_length,
                "names": names,
            },
            features=Features(
                {name: List(Value(_COLUMNS[name])) for name in names}
                | {"truncated": Value("bool")}
            ),
            num_proc=num_workers if num_workers > 1 else None,
            new_fingerprint=key,
            cache_file_name=str(folder / f"{key}.arrow"),
            load_from_cache_file=True,
        )
        if not whole:
            files = [Path(file["filename"]) for file in mapped.cache_files]
            write_json(record, {file.name: digest_file(file) for file in files})
    return TokenisedSplit(
        name=split.name,
        rows=mapped.remove_columns("truncated"),
        lengths=pc.list_value_length(mapped.data.column("input_ids"))
        .to_numpy()
        .astype(np.int32),
        labels=_labels(split.rows),
        truncated=pc.mean(mapped.data.column("truncated")).as_py(),
    )


def _is_whole(folder: Path, record: Path) -> bool:
    """Whether every file that the record names is as it was written."""
    try:
        digests: dict[str, str] = json.loads(record.read_text(encoding="utf-8"))
        damaged = [
            name
            for name, sha256 in digests.items()
            if digest_file(folder / name) != sha256
        ]
    except FileNotFoundError:
        return False
        damaged = damaged if digests else [record.name]
    except (ValueError, AttributeError, TypeError):
        damaged = [record.name]
    for name in damaged:
        log.warning(
            "%s: damaged or changed; the texts are tokenised again", folder / name
        )
    return not damaged


def _remove(folder: Path, key: str) -> None:
    for file in (*folder.glob(f"{key}*.arrow"), folder / f"{key}.json"):
        file.unlink(missing_ok=True)


def _encode(
    *texts: list[str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    names: list[str],
) -> dict[str, list[Any]]:
    encoded = tokenizer(*texts, truncation=True, max_length=max_length, padding=False)
    rows = {name: encoded[name] for name in names}
    return rows | {
        "truncated": [
            bool(encoding.overflowing) for encoding in encoded.encodings or []
        ]
    }


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of all that decides which ids a text gets, its maximum length left out."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    for last_call in (
        "truncation",
        "padding",
    ):  # what the tokenizer was last asked for, not what it is
        backend.pop(last_call)
    parts = [backend, tokenizer.truncation_side, tokenizer.model_input_names]
    if getattr(
        tokenizer, "split_special_tokens", False
    ):  # the backend's JSON leaves it out
        parts.append("split_special_tokens")
    return _digest(parts)


def _key(split: Split, tokenizer: PreTrainedTokenizerBase, max_length: int) -> str:
    versions = [tokenizers.__version__, transformers.__version__]
    return _digest([split.sha256, tokenizer_digest(tokenizer), max_length, versions])[
        :32
    ]


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _labels(rows: Dataset) -> NDArray[Any]:
    column = (
        rows.with_format("arrow")
        .select_columns("label")[:]
        .column("label")
        .combine_chunks()
    )
    if not isinstance(rows.features["label"], List):
        values: NDArray[Any] = column.to_numpy()
        return values
    return np.ascontiguousarray(column.flatten().to_numpy().reshape(len(rows), -1))
