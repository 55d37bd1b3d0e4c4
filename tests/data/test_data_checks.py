"""Cuts are stratified and seeded, and counts agree with brute force."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from files import as_rows, load, pairs_of, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ostinato.config import SeedsConfig
from ostinato.errors import DataError
from ostinato.seeding import Seeds

many = settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


# --- cuts


@pytest.mark.slow
@many
@given(
    labels=st.lists(st.sampled_from("abc"), min_size=20, max_size=80).filter(
        lambda ls: len(set(ls)) > 1
    ),
    fraction=st.floats(0.1, 0.9),
    seed=st.integers(0, 2**63 - 1),
)
def test_the_cut_is_stratified_complete_and_seeded(
    tmp_path: Path, labels: list[str], fraction: float, seed: int
) -> None:
    rows = [(f"text {i}", label) for i, label in enumerate(labels)]
    config = {
        "train_path": write(tmp_path, "t.csv", as_rows(rows)),
        "val_fraction": fraction,
    }
    data = load(Seeds(seed, SeedsConfig()), **config)
    train, val = pairs_of(data, "train"), pairs_of(data, "val")
    assert sorted(train + val) == sorted(rows)
    in_val = Counter(label for _, label in val)
    for label, count in Counter(labels).items():
        assert abs(in_val[label] - fraction * count) <= 1 or in_val[label] == count - 1
        assert in_val[label] < count
    assert load(Seeds(seed, SeedsConfig()), **config).val.sha256 == data.val.sha256
    # Only the seed of the split matters.
    assert (
        load(Seeds(seed + 1, SeedsConfig(split=5)), **config).val.sha256
        == load(Seeds(0, SeedsConfig(split=5)), **config).val.sha256
    )


@many
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(["p", "q", "r ", " r", "s", "t"]), st.sampled_from("ab")
        ),
        min_size=4,
    )
)
def test_the_cut_creates_no_leak(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    rows = [*rows, ("one", "a"), ("two", "a"), ("three", "b"), ("four", "b")]
    data = load(train_path=write(tmp_path, "t.csv", as_rows(rows)), val_fraction=0.3)
    train, val = (
        {" ".join(text.split()) for text in getattr(data, split).rows["text"]}
        for split in ("train", "val")
    )
    assert val
    assert not train & val


def test_frequent_label_combinations_keep_their_share(tmp_path: Path) -> None:
    combinations = ["a|b"] * 40 + ["c"] * 40 + [f"a|{i}" for i in range(20)]
    path = write(
        tmp_path,
        "t.csv",
        as_rows([(f"t{i}", label) for i, label in enumerate(combinations)]),
    )
    data = load(train_path=path, task="multi_label", val_fraction=0.1)
    rows = data.val.targets
    a, b, c = (rows[:, data.labels.index(name)] for name in "abc")
    assert (len(rows), (a * b).sum(), c.sum(), (a * (1 - b)).sum()) == (10, 4, 4, 2)


def test_limits_take_a_seeded_random_subset(tmp_path: Path) -> None:
    rows = [(f"text {i:03}", "xy"[i % 2]) for i in range(200)]
    path = write(tmp_path, "t.csv", as_rows(rows))
    config = {
        "train_path": path,
        "val_path": path,
        "test_path": path,
        "limit_train": 50,
        "limit_test": 50,
    }
    data, other = load(**config), load(Seeds(1, SeedsConfig()), **config)
    texts = list(data.train.rows["text"])
    assert len(set(texts)) == 50
    assert texts == sorted(texts)
    assert texts != [text for text, _ in rows[:50]]
    assert len(data.val.rows) == 200
    assert data.test is not None
    digests = {data.train.sha256, data.test.sha256, other.train.sha256}
    assert len(digests) == 3
    assert load(**config).train.sha256 == data.train.sha256
    assert load(**{**config, "limit_train": 1000}).train.sha256 == data.val.sha256


def test_a_missing_test_split_is_noted(tmp_path: Path) -> None:
    data = load(
        train_path=write(
            tmp_path, "t.csv", as_rows([(f"t{i}", "xy"[i % 2]) for i in range(9)])
        )
    )
    assert data.test is None
    assert "no test split: no test metrics" in data.report["notes"]


# --- checks


some_rows = st.lists(
    st.tuples(
        st.sampled_from(["a", " a", "A", "b  c", "b\tc", "", " ", "d"]),
        st.sampled_from("xy"),
    ),
    max_size=12,
)


@pytest.mark.slow
@many
@given(train=some_rows, val=some_rows, test=some_rows)
def test_counts_agree_with_brute_force(
    tmp_path: Path, train: Any, val: Any, test: Any
) -> None:
    splits = {
        name: [*rows, (name, "x"), (name + "2", "y")]
        for name, rows in {"train": train, "val": val, "test": test}.items()
    }
    paths = {
        f"{name}_path": write(tmp_path, f"{name}.csv", as_rows(rows))
        for name, rows in splits.items()
    }
    report = load(**paths).report
    normal = {
        name: [(" ".join(t.split()), label) for t, label in rows]
        for name, rows in splits.items()
    }
    for name, rows in normal.items():
        counts = report["read"][name]
        assert counts["rows"] == len(rows)
        assert counts["label_counts"] == dict(Counter(label for _, label in rows))
        assert counts["empty_texts"] == sum(not text for text, _ in rows)
        duplicates = 0
        labels_of: dict[str, set[str]] = {}
        for text, label in rows:
            if text:
                duplicates += text in labels_of
                labels_of.setdefault(text, set()).add(label)
        conflicts = [text for text, labels in labels_of.items() if len(labels) > 1]
        assert counts["duplicates"] == duplicates
        assert counts["conflicting_duplicates"] == len(conflicts)
    for pair, count in report["leaks"].items():
        first, second = pair.split("/")
        texts_of_first = {text for text, _ in normal[first]} - {""}
        leaking = [text for text, _ in normal[second] if text in texts_of_first]
        assert count == len(leaking)
    assert json.loads(json.dumps(report)) == report


@pytest.mark.slow
@many
@given(train=some_rows, test=some_rows)
def test_only_leaking_rows_are_dropped(tmp_path: Path, train: Any, test: Any) -> None:
    train = [*train, *((f"own {i}", "xy"[i % 2]) for i in range(8))]
    test = [*test, ("x", "x")]
    paths = {
        "train_path": write(tmp_path, "a.csv", as_rows(train)),
        "test_path": write(tmp_path, "b.csv", as_rows(test)),
    }
    data = load(**paths, on_leak="drop")
    in_test = {" ".join(t.split()) for t, _ in test} - {""}
    kept = sorted(row for row in train if " ".join(row[0].split()) not in in_test)
    assert sorted(pairs_of(data, "train") + pairs_of(data, "val")) == kept


def test_leaks_give_a_warning_or_an_error(tmp_path: Path) -> None:
    rows = [("a", "x"), ("b", "y"), ("c", "x"), ("d", "y"), ("e", "x")]
    paths = {
        "train_path": write(tmp_path, "a.csv", as_rows(rows)),
        "test_path": write(tmp_path, "b.csv", as_rows(rows[:2])),
    }
    assert load(**paths).warnings == ("2 of 2 test rows also occur in train",)
    with pytest.raises(
        DataError,
        match=r"2 test rows also occur in train \(data\.on_leak=error\).*data\.on_leak=drop",
    ):
        load(**paths, on_leak="error")
    with pytest.raises(DataError, match="all train rows also occur in val or test"):
        load(
            train_path=paths["train_path"],
            test_path=paths["train_path"],
            on_leak="drop",
        )


def test_pairs_are_compared_as_pairs(tmp_path: Path) -> None:
    rows = [
        {"a": a, "b": b, "label": la}
        for a, b, la in [
            ("p", "q r", "x"),
            ("p q", "r", "y"),
            ("p", "q  r", "x"),
            ("s", "", "y"),
        ]
    ]
    path = write(tmp_path, "t.csv", rows)
    data = load(train_path=path, val_path=path, text_column="a", text_pair_column="b")
    assert data.train.rows.column_names == ["text", "text_pair"]
    assert list(data.train.rows["text_pair"]) == ["q r", "r", "q  r", ""]
    assert {
        k: data.report["read"]["train"][k] for k in ("duplicates", "empty_texts")
    } == {
        "duplicates": 1,
        "empty_texts": 0,
    }
