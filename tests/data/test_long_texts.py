"""Head, tail and windows of long texts: the tokenizer's own overflow and truncation."""

import hashlib
import json
from itertools import pairwise

import numpy as np
import pytest
import tokenizers
import transformers
from hub import TOKENIZERS, write_model
from hypothesis import given
from hypothesis import strategies as st
from test_tokenise import split_of, word_tokenizer
from transformers import AutoTokenizer

from ostinato.config import LongText, WindowPooling
from ostinato.config.data import DataConfig
from ostinato.data.batching import plan_evaluation
from ostinato.data.long_texts import LongTexts, encode_long
from ostinato.data.tokenise import tokenise, tokenizer_digest
from ostinato.data.windows import split_windows
from ostinato.errors import ConfigError

WORDS = list("abcdefgh")
CHARACTERS = [chr(0x4E00 + number) for number in range(1500)]
# The numbers of its tokens are those of the characters.
NUMBERED = word_tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *CHARACTERS])
texts = st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join)
sides = st.sampled_from(["right", "left"])


def windows_of(tokenizer, columns, max_length, **options):
    """The windows of each row, and whether it lost text."""
    how = LongTexts(mode=LongText.windows, **options)
    rows, lost = encode_long(tokenizer, columns, max_length, how)
    parts, windows = split_windows(rows)
    ids = iter(parts["input_ids"])
    return [[next(ids) for _ in range(count)] for count in windows.counts], lost


def overflow(tokenizer, columns, **options):
    """The same from the tokenizer."""
    encoded = tokenizer(*columns, return_overflowing_tokens=True, **options)
    rows = [[] for _ in columns[0]]
    for number, ids in zip(
        encoded["overflow_to_sample_mapping"], encoded["input_ids"], strict=True
    ):
        rows[number].append(ids)
    return rows


@given(st.lists(texts, min_size=1, max_size=4), st.integers(4, 20), st.data(), sides)
def test_windows_of_texts_are_the_overflow_of_the_tokenizer(column, length, data, side):
    tokenizer = word_tokenizer(truncation_side=side)
    stride = data.draw(st.integers(0, length - 3))
    found, lost = windows_of(tokenizer, [column], length, stride=stride)
    options = {"max_length": length, "stride": stride, "truncation": True}
    assert found == overflow(tokenizer, [column], **options)
    assert not any(lost)


@given(
    st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join),
    texts,
    st.booleans(),
    st.integers(0, 5),
    sides,
)
def test_only_the_longer_text_of_a_pair_is_cut(short, long, swap, stride, side):
    tokenizer = word_tokenizer(truncation_side=side)
    pair = [[long], [short]] if swap else [[short], [long]]
    is_first_longer = len(pair[0][0]) >= len(pair[1][0])
    strategy = "only_first" if is_first_longer else "only_second"
    found, lost = windows_of(tokenizer, pair, 15, stride=stride)
    options = {"max_length": 15, "stride": stride, "truncation": strategy}
    assert found == overflow(tokenizer, pair, **options)
    assert lost == [False]


@given(texts, texts, st.integers(5, 20))
def test_two_long_texts_have_windows_of_one_beside_half_of_the_other(a, b, length):
    tokenizer = word_tokenizer()
    (windows,), (is_cut,) = windows_of(tokenizer, [[a], [b]], length)
    cut = tokenizer([a], [b], max_length=length, truncation=True)["input_ids"][0]
    assert windows[0] == cut
    shorter = min(len(a.split()), len(b.split()))
    assert is_cut == (shorter > (length - 3) // 2)
    assert max(map(len, windows)) <= length
    whole = tokenizer([a], [b])["input_ids"][0]
    if len(whole) > length and not is_cut:
        other = a if len(a) < len(b) else b
        seen = sum(len(window) - 3 - len(other.split()) for window in windows)
        assert seen == len(whole) - 3 - len(other.split())


@pytest.mark.parametrize("family", TOKENIZERS)
def test_special_tokens_are_those_of_every_tokenizer(family, tmp_path):
    write_model(tmp_path / "model", {"model_type": family})
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    column = ["", "it rains", "the wind turns to the north " * 5]
    options = {"max_length": 12, "truncation": True, "stride": 2}
    found, _ = windows_of(tokenizer, [column], 12, stride=2)
    assert found == overflow(tokenizer, [column], **options)
    assert len(found[2]) > 2

    pairs = [["they scored", column[2] * 3], ["", "a goal"]]
    how = LongTexts(mode=LongText.windows)
    rows, _ = encode_long(tokenizer, pairs, 40, how)
    parts, windows = split_windows(rows)
    for strategy, row, start in (("only_second", 0, 0), ("only_first", 1, 1)):
        options = {"max_length": 40, "truncation": strategy}
        expected = tokenizer(
            pairs[0][row : row + 1], pairs[1][row : row + 1], **options
        )
        for name, values in parts.items():
            assert values[start] == expected[name][0], name
    assert windows.counts[0] == 1
    assert windows.counts[1] > 1


def head_tail(tokenizer, columns, max_length):
    how = LongTexts(mode=LongText.head_tail)
    rows, lost = encode_long(tokenizer, columns, max_length, how)
    return rows["input_ids"], lost


@given(st.integers(0, 1500), st.integers(4, 512))
def test_head_and_tail_are_a_quarter_and_the_rest(num_words, max_length):
    ids = list(range(4, 4 + num_words))
    text = "".join(CHARACTERS[:num_words])
    (found,), (is_cut,) = head_tail(NUMBERED, [[text]], max_length)
    room = max_length - 2
    assert is_cut == (num_words > room)
    if is_cut:
        head = (room + 3) // 4
        ids = ids[:head] + ids[len(ids) - (room - head) :]
    assert found == [2, *ids, 3]


def test_head_and_tail_of_512_tokens_are_those_of_the_paper():
    (found,), _ = head_tail(NUMBERED, [["".join(CHARACTERS[:1000])]], 512)
    assert found[1:129] == list(range(4, 132))  # Sun et al., 2019: 128 and 382
    assert found[129:-1] == list(range(622, 1004))


def test_both_texts_of_a_pair_keep_head_and_tail():
    tokenizer = word_tokenizer()
    pair = [["a b c d e f g h"], ["h g f e d c b a"]]
    (found,), (is_cut,) = head_tail(tokenizer, pair, 11)  # 8 tokens of text
    assert found == [2, 4, 9, 10, 11, 3, 11, 6, 5, 4, 3]
    assert is_cut
    (found,), _ = head_tail(tokenizer, [["a b"], pair[1]], 11)
    assert found == [2, 4, 5, 3, 11, 10, 7, 6, 5, 4, 3]


def test_a_limit_keeps_the_first_windows_and_counts_the_rows_that_lose_text():
    split = split_of(["a b c d e f g h", "a b c d", "a"])
    how = LongTexts(mode=LongText.windows, max_windows=2)
    made = tokenise(split, word_tokenizer(), 4, long_texts=how)
    assert made.rows["input_ids"][0] == [2, 4, 5, 3, 2, 6, 7, 3]
    assert made.rows["window_lengths"][:] == [[4, 4], [4, 4], [3]]
    assert made.windows.tolist() == [2, 2, 1]
    assert made.lengths.tolist() == [8, 8, 3]
    assert made.input_lengths.tolist() == [4, 4, 4, 4, 3]
    assert made.describe(LongText.windows, 4) == (
        "66.7 % of rows have several windows of 4 tokens "
        "(mean 1.67, at most 2 per row); 1 rows lost text"
    )


def test_the_number_of_processes_changes_no_window(tmp_path, monkeypatch):
    split = split_of([f"{'a b ' * (i % 7)}c" for i in range(20)])
    how = LongTexts(mode=LongText.windows, stride=1)
    made = []
    for workers in (1, 3):
        monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / str(workers)))
        made.append(tokenise(split, word_tokenizer(), 5, workers, how))
    assert made[0].rows[:] == made[1].rows[:]
    assert made[0].sha256 == made[1].sha256


def test_the_cache_keeps_its_key_for_truncated_texts_and_has_others_for_the_rest(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path))
    split, tokenizer = split_of(["a b c d e f g h", "a b"]), word_tokenizer()
    tokenise(split, tokenizer, 5)
    versions = [tokenizers.__version__, transformers.__version__]
    parts = [split.sha256, tokenizer_digest(tokenizer), 5, versions]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    assert [file.stem for file in (tmp_path / "tokens").glob("*.arrow")] == [key]

    windows = DataConfig(long_text=LongText.windows)
    for changes in ({"stride": 1}, {"max_windows": 2}, {"window_pooling": "first"}):
        tokenise(split, tokenizer, 5, 1, LongTexts.of(windows))
        cfg = DataConfig(long_text=LongText.windows, **changes)
        tokenise(split, tokenizer, 5, 1, LongTexts.of(cfg))
    tokenise(split, tokenizer, 5, 1, LongTexts(mode=LongText.head_tail))
    # The pooling decides no token.
    cfg = DataConfig(long_text=LongText.windows, window_pooling=WindowPooling.max)
    tokenise(split, tokenizer, 5, 1, LongTexts.of(cfg))
    assert len(list((tmp_path / "tokens").glob("*.arrow"))) == 6


@pytest.mark.parametrize(
    ("rows", "max_length", "stride", "message"),
    [
        (["a"], 6, 4, r"data\.stride=4: .* only 4 tokens of text; use at most 3"),
        ([("a", "b")], 8, 3, r"data\.stride=3: .* only 3 tokens of a pair's longer"),
        ([("a", "b")], 3, 0, r"model\.max_length=3: 3 special tokens leave no room"),
    ],
)
def test_a_window_without_room_is_refused(rows, max_length, stride, message):
    how = LongTexts(mode=LongText.windows, stride=stride)
    with pytest.raises(ConfigError, match=message):
        tokenise(split_of(rows), word_tokenizer(), max_length, long_texts=how)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 30)), max_size=30),
    st.integers(1, 8),
)
def test_evaluation_counts_the_windows_of_a_batch(rows, batch_size):
    windows = np.array([row[0] for row in rows], dtype=np.int32)
    lengths = np.array([row[0] * row[1] for row in rows], dtype=np.int32)
    batches = plan_evaluation(lengths, batch_size, windows)
    order = np.concatenate([np.empty(0, np.int64), *batches])
    assert sorted(order) == list(range(len(rows)))
    assert (np.diff(lengths[order]) >= 0).all()
    for batch in batches:
        assert len(batch) == 1 or windows[batch].sum() <= batch_size
    for batch, following in pairwise(batches):
        assert windows[batch].sum() + windows[following[0]] > batch_size
