"""Token ids equal those of the tokenizer called row by row, and are computed once."""

import multiprocessing
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    CanineTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from ostinato.config import DataConfig, SeedsConfig, Source, Task
from ostinato.data import tokenise as tokenise_module
from ostinato.data.columns import Row
from ostinato.data.files import RowSource
from ostinato.data.labels import LabelFormat
from ostinato.data.scanning import scan
from ostinato.data.splits import Split, load_data
from ostinato.data.tokenise import tokenise
from ostinato.data.tokenised_split import TokenisedSplit
from ostinato.errors import DataError
from ostinato.seeding import Seeds

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh"]
texts = st.text("abcdefghz ", max_size=24)


def word_tokenizer(
    words: Sequence[str] = WORDS, **options: Any
) -> PreTrainedTokenizerFast:
    backend = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]")
    )
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Split("", "isolated")]
    )
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = ["input_ids", "token_type_ids", "attention_mask"]
    special = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
    }
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, **{"model_input_names": names, **special, **options}
    )


def split_of(
    rows: Sequence[str | tuple[str, str]], labels: Sequence[str] | None = None
) -> Split:
    """Makes a split of texts or pairs; the labels repeat."""
    labels = labels or "xy"
    made = []
    for number, row in enumerate(rows):
        text, pair = row if isinstance(row, tuple) else (row, None)
        label = labels[number % len(labels)]
        made.append(Row(f"row {number}", text, pair, label))
    source = RowSource("made up", made)
    with_pair = isinstance(rows[0], tuple)
    label_format = LabelFormat(Task.single_label, "|")
    scanned = scan("train", [source], label_format, with_pair)
    return Split("train", scanned.table, scanned.targets, scanned.sha256)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path))
    return tmp_path / "tokens"


def assert_equal(a: TokenisedSplit, b: TokenisedSplit) -> None:
    assert a.rows.features == b.rows.features
    assert a.rows[:] == b.rows[:]
    assert np.array_equal(a.lengths, b.lengths)
    assert np.array_equal(a.labels, b.labels)
    assert a.truncated == b.truncated


@pytest.mark.slow
@settings(max_examples=40)
@given(
    rows=st.lists(texts, min_size=1, max_size=6)
    | st.lists(st.tuples(texts, texts), min_size=1, max_size=6),
    max_length=st.integers(4, 20),
)
def test_rows_equal_those_of_the_tokenizer(rows: list[Any], max_length: int) -> None:
    tokenizer = word_tokenizer()
    made = tokenise(split_of(rows), tokenizer, max_length)
    # With strings instead of lists, transformers ignores an empty second text.
    arguments = [
        [[text] for text in row] if isinstance(row, tuple) else [[row]] for row in rows
    ]
    expected = [
        tokenizer(*texts, truncation=True, max_length=max_length) for texts in arguments
    ]
    assert made.rows.column_names == ["input_ids", "token_type_ids"]
    for name in made.rows.column_names:
        assert list(made.rows[name]) == [row[name][0] for row in expected]
    assert made.lengths.dtype == np.int32
    assert made.lengths.tolist() == [len(row["input_ids"][0]) for row in expected]
    assert made.truncated == np.mean(
        [len(tokenizer(*texts)["input_ids"][0]) > max_length for texts in arguments]
    )


def test_two_texts_are_encoded_as_a_pair() -> None:
    made = tokenise(split_of([("a b", "c"), ("a", "b")]), word_tokenizer(), 16)
    assert made.rows[0] == {
        "input_ids": [2, 4, 5, 3, 6, 3],
        "token_type_ids": [0, 0, 0, 0, 1, 1],
    }
    joined = tokenise(split_of(["a b c", "a b"]), word_tokenizer(), 16)
    assert joined.rows[0]["token_type_ids"] == [0] * 5


def test_a_tokenizer_without_token_types_makes_none() -> None:
    tokenizer = word_tokenizer(model_input_names=["input_ids", "attention_mask"])
    assert tokenise(split_of(["a", "b"]), tokenizer, 16).rows.column_names == [
        "input_ids"
    ]


def test_the_number_of_processes_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = split_of([f"{'a b ' * (i % 7)}c" for i in range(50)])
    made = []
    for workers in (1, 2, 3):
        monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / str(workers)))
        made.append(tokenise(split, word_tokenizer(), 8, workers))
    assert_equal(made[0], made[1])
    assert_equal(made[0], made[2])


@pytest.mark.parametrize("workers", [(1, 1), (1, 2), (2, 1)])
def test_a_second_start_reads_the_cache(
    cache: Path, monkeypatch: pytest.MonkeyPatch, workers: tuple[int, int]
) -> None:
    rows = ["a b", "c", "d e f"]
    first = tokenise(split_of(rows), word_tokenizer(), 8, workers[0])
    stored = {file: file.stat().st_mtime_ns for file in cache.glob("*.arrow")}
    monkeypatch.setattr(tokenise_module, "_encode", None)  # calling it would fail
    second = tokenise(split_of(rows), word_tokenizer(), 8, workers[1])
    assert_equal(first, second)
    assert {file: file.stat().st_mtime_ns for file in cache.glob("*.arrow")} == stored


def test_earlier_calls_of_the_tokenizer_do_not_matter(cache: Path) -> None:
    tokenizer = word_tokenizer()
    tokenise(split_of(["a b", "c"]), tokenizer, 8)
    tokenizer("a b c d", truncation=True, max_length=2, padding="max_length")
    tokenise(split_of(["a b", "c"]), tokenizer, 8)
    assert len(list(cache.glob("*.arrow"))) == 1


def test_every_change_of_tokens_changes_the_cache_key(cache: Path) -> None:
    rows = ["a b c d e f", "b"]
    others = [*WORDS[:4], *reversed(WORDS[4:])]
    made = [
        tokenise(split_of(rows), word_tokenizer(), 8),
        tokenise(split_of(rows), word_tokenizer(), 5),
        tokenise(split_of(rows), word_tokenizer(others), 8),
        tokenise(split_of(rows), word_tokenizer(truncation_side="left"), 5),
        tokenise(split_of(rows), word_tokenizer(model_input_names=["input_ids"]), 8),
        tokenise(split_of([*rows, "c"]), word_tokenizer(), 8),
        tokenise(split_of([(row, "") for row in rows]), word_tokenizer(), 8),
    ]
    assert len({str(m.rows[:]) for m in made}) == len(made)
    assert len(list(cache.glob("*.arrow"))) == len(made)


def _in_process(split: Split, queue: Any) -> None:
    queue.put(tokenise(split, word_tokenizer(), 8).rows[:])


def test_concurrent_processes_share_one_complete_file(cache: Path) -> None:
    split = split_of([f"{'a b ' * (i % 9)}c" for i in range(3000)])
    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()
    processes = [
        fork.Process(target=_in_process, args=(split, queue)) for _ in range(4)
    ]
    for process in processes:
        process.start()
    made = [queue.get(timeout=30) for _ in processes]
    for process in processes:
        process.join(timeout=30)
    expected = tokenise(split, word_tokenizer(), 8)
    assert all(rows == expected.rows[:] for rows in made)
    assert sorted(file.suffix for file in cache.iterdir()) == [
        ".arrow",
        ".json",
        ".lock",
    ]


@pytest.mark.parametrize(
    ("task", "dtype", "dimensions"),
    [
        ("single_label", np.int64, 1),
        ("multi_label", np.float32, 2),
        ("regression", np.float32, 1),
    ],
)
@pytest.mark.parametrize("limit", [None, 40])
def test_labels_are_arrays_in_row_order(
    task: str, dtype: type, dimensions: int, limit: int | None
) -> None:
    config = DataConfig(source=Source.generated, task=Task(task), limit_train=limit)
    data = load_data(config, Seeds(1, SeedsConfig()))
    made = tokenise(data.train, word_tokenizer(), 8)
    assert (made.labels.dtype, made.labels.ndim) == (dtype, dimensions)
    assert np.array_equal(made.labels, data.train.targets)
    assert len(made.rows) == len(made.lengths) == len(made.labels) == (limit or 300)


def test_labels_are_not_limited_by_32_bit_offsets() -> None:
    data = load_data(DataConfig(source=Source.generated), Seeds(1, SeedsConfig()))
    num_rows = len(data.train.rows)
    # All values are one value in memory.
    targets = np.broadcast_to(np.float32(1), (num_rows, 2**31 // num_rows + 1))
    made = tokenise(replace(data.train, targets=targets), word_tokenizer(), 8)
    assert made.labels.shape == targets.shape
    assert made.labels.size > 2**31


@pytest.mark.slow
def test_a_slow_tokenizer_is_refused() -> None:
    tokenizer: PreTrainedTokenizerBase = CanineTokenizer()
    with pytest.raises(DataError, match="no fast tokenizer"):
        tokenise(split_of(["a", "b"]), tokenizer, 8)
