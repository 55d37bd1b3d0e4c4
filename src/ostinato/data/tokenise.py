"""Tokenises texts once; the cache serves the same texts and tokenizer after that.

The result depends on the texts, the tokenizer and the maximum length only, not on the
number of processes. A damaged cache file is made again. Rows are not padded.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.compute as pc
import tokenizers
import transformers
from datasets import Dataset, Features, List, Value
from filelock import FileLock
from transformers import PreTrainedTokenizerBase

from ostinato.config import LongText
from ostinato.data import token_cache
from ostinato.data.assets import cache_folder
from ostinato.data.long_texts import LongTexts, encode_long
from ostinato.data.splits import Split
from ostinato.data.tokenised_split import TokenisedSplit
from ostinato.data.windows import WINDOW_LENGTHS
from ostinato.errors import DataError

_COLUMNS = {"input_ids": "int32", "token_type_ids": "int8"}
_KEY_LENGTH = 32


def tokenise(
    split: Split,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    num_workers: int = 1,
    long_texts: LongTexts | None = None,
) -> TokenisedSplit:
    """Tokenises the texts of a split; two texts of a row are encoded as a pair.

    Args:
        split: the rows.
        tokenizer: a fast tokenizer.
        max_length: maximum number of tokens, special tokens included. In a pair, the
            longer text is truncated first.
        num_workers: number of processes.
        long_texts: how longer texts are read; None truncates them.

    Raises:
        DataError: the tokenizer is not a fast one.
        ConfigError: a window has no room for text.
        AssetError: the cache cannot be written.
    """
    if not tokenizer.is_fast:
        raise DataError(
            f"{tokenizer.name_or_path}: has no fast tokenizer; "
            "choose another model.name"
        )
    how = long_texts or LongTexts()
    if how.mode is not LongText.truncate:
        is_pair = "text_pair" in split.rows.column_names
        how.room(tokenizer, max_length, is_pair)  # Report a mistake in this process.
    table = _cached(split, tokenizer, max_length, how, num_workers)
    input_ids = table.data.column("input_ids")
    lengths = pc.list_value_length(input_ids).to_numpy()
    windows = None
    if WINDOW_LENGTHS in table.column_names:
        counts = pc.list_value_length(table.data.column(WINDOW_LENGTHS))
        windows = counts.to_numpy().astype(np.int32)
    return TokenisedSplit(
        name=split.name,
        rows=table.remove_columns("truncated"),
        lengths=lengths.astype(np.int32),
        labels=split.targets,
        truncated=pc.mean(table.data.column("truncated")).as_py(),
        weights=split.weights,
        distributions=split.distributions,
        windows=windows,
    )


def _cached(
    split: Split,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    how: LongTexts,
    num_workers: int,
) -> Dataset:
    """Reads the tokens from the cache, or encodes the rows and writes them to it."""
    key = _key(split, tokenizer, max_length, how)
    with cache_folder("tokens") as folder, FileLock(folder / f"{key}.lock"):
        is_cached = token_cache.is_complete(folder, key)
        if not is_cached:
            token_cache.remove(folder, key)
        file = folder / f"{key}.arrow"
        table = _map_texts(split.rows, tokenizer, max_length, how, num_workers, file)
        if not is_cached:
            token_cache.write_record(folder, key, table)
    return table


def _map_texts(
    rows: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    how: LongTexts,
    num_workers: int,
    file: Path,
) -> Dataset:
    """Encodes the rows to a file, or reads the file if it exists."""
    columns = [name for name in ("text", "text_pair") if name in rows.column_names]
    names = [name for name in _COLUMNS if name in tokenizer.model_input_names]
    features = {}
    for name in names:
        features[name] = List(Value(_COLUMNS[name]))
    if how.mode is LongText.windows:
        features[WINDOW_LENGTHS] = List(Value("int32"))
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
            "how": how,
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
    how: LongTexts,
) -> dict[str, list[Any]]:
    if how.mode is not LongText.truncate:
        long_columns, lost = encode_long(tokenizer, texts, max_length, how)
        return {**long_columns, "truncated": lost}
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
    split: Split, tokenizer: PreTrainedTokenizerBase, max_length: int, how: LongTexts
) -> str:
    """Name of the tokenised texts in the cache."""
    versions = [tokenizers.__version__, transformers.__version__]
    parts = [split.sha256, tokenizer_digest(tokenizer), max_length, versions]
    return _digest(parts + how.key())[:_KEY_LENGTH]


def _digest(parts: list[Any]) -> str:
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
