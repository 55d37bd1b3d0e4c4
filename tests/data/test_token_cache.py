"""A damaged cache file is never used: tokens are made again, assets fetched again."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset
from runs import fingerprint, train_in
from test_assets import index, made_up  # noqa: F401
from test_tokenise import assert_equal, cache, split_of, word_tokenizer  # noqa: F401

from ostinato.data.assets import fetch
from ostinato.data.tokenise import tokenise, tokenizer_digest
from ostinato.data.tokenised_split import TokenisedSplit
from ostinato.record.difference import first_difference
from ostinato.record.drift import environment_drift
from ostinato.run_dir import read_json

ROWS = ["a b", "c", "d e f", "g h a b c", "b"] * 40


def change_one_token(file):
    content = bytearray(file.read_bytes())
    at = content.index(np.array([2, 4, 5, 3], np.int32).tobytes())
    content[at + 4] = 9
    file.write_bytes(content)


DAMAGES = {
    "one token": change_one_token,
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-100]),
    "empty": lambda file: file.write_bytes(b""),
    "gone": Path.unlink,
}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_tokens_are_made_again(cache, caplog, damage, workers):  # noqa: F811
    first = tokenise(split_of(ROWS), word_tokenizer(), 8, workers)
    expected, sha256 = first.rows[:], first.sha256
    del first
    DAMAGES[damage](next(cache.glob("*.arrow")))
    with caplog.at_level(logging.WARNING, "ostinato"):
        again = tokenise(split_of(ROWS), word_tokenizer(), 8, workers)
    assert (again.rows[:], again.sha256) == (expected, sha256)
    assert ("damaged or changed; the texts are tokenised again" in caplog.text) == (
        damage != "gone"
    )
    caplog.clear()
    assert_equal(tokenise(split_of(ROWS), word_tokenizer(), 8, workers), again)
    assert not caplog.text


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"x.arrow": 1}', None])
def test_tokens_without_a_readable_record_are_made_again(cache, content):  # noqa: F811
    first = tokenise(split_of(ROWS), word_tokenizer(), 8)
    record = next(cache.glob("*.json"))
    whole = record.read_text()
    record.unlink() if content is None else record.write_text(content)
    assert_equal(tokenise(split_of(ROWS), word_tokenizer(), 8), first)
    assert record.read_text() == whole


def test_the_digest_of_tokens_depends_on_content_and_not_on_chunks():
    def split(ids, sizes):
        parts = np.split(np.arange(len(ids)), np.cumsum(sizes)[:-1])
        chunks = [
            pa.array([ids[i] for i in part], pa.list_(pa.int32())) for part in parts
        ]
        return TokenisedSplit(
            "train",
            Dataset(pa.table({"input_ids": pa.chunked_array(chunks)})),
            [],
            [],
            0.0,
        ).sha256

    ids = [[1, 2], [3], [4, 5, 6], [7]]
    assert split(ids, [4]) == split(ids, [1, 3]) == split(ids, [2, 0, 2])
    others = [
        [[1, 2], [3], [4, 5, 6], [8]],
        [[1], [2, 3], [4, 5, 6], [7]],
        ids[::-1],
        ids[:3],
    ]
    assert len({split(other, [len(other)]) for other in [ids, *others]}) == 5


def test_splitting_special_tokens_changes_the_digest_of_a_tokenizer():
    plain, splitting = word_tokenizer(), word_tokenizer(split_special_tokens=True)
    assert plain("[SEP] a")["input_ids"] != splitting("[SEP] a")["input_ids"]
    assert tokenizer_digest(plain) != tokenizer_digest(splitting)


@pytest.mark.slow
def test_a_run_with_the_token_record_of_an_earlier_version_is_comparable(tmp_path):
    run = train_in(tmp_path / "run", "training.epochs=0.5")
    now, provenance = fingerprint(run), read_json(run.provenance)
    assert all(len(sha256) == 64 for sha256 in now["token_ids"].values())

    def earlier(record, key):
        return {
            name: value for name, value in record.items() if name != "token_ids"
        } | {"tokens": {"train": key}}

    assert first_difference(earlier(now, "0" * 32), now) is None
    assert environment_drift(earlier(provenance, "0" * 32), provenance) == []
    assert (
        first_difference(earlier(now, "0" * 32), earlier(now, "1" * 32)).stream
        == "tokens"
    )
    assert first_difference(now | {"token_ids": {}}, now).stream == "token_ids"
    assert environment_drift(provenance | {"token_ids": {}}, provenance)


def test_an_asset_with_one_flipped_bit_is_fetched_again(index, caplog):  # noqa: F811
    wheel = made_up(index)
    file = fetch(wheel) / "b.bin"
    content = bytearray(file.read_bytes())
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with caplog.at_level(logging.WARNING, "ostinato"):
        assert (fetch(wheel) / "b.bin").read_bytes() == content
    assert "b.bin: damaged or changed; it is fetched again" in caplog.text


@pytest.mark.slow
def test_a_damaged_asset_that_cannot_be_fetched_is_an_error_of_one_line(index):  # noqa: F811
    from ostinato.errors import AssetError

    wheel = made_up(index)
    (fetch(wheel) / "b.bin").write_bytes(b"other")
    shutil.rmtree(index)
    index.mkdir()
    with pytest.raises(
        AssetError, match=r"made-up==1\.0: pip could not download it"
    ) as caught:
        fetch(wheel)
    assert "\n" not in str(caught.value)
