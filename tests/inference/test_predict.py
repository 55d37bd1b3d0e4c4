"""Prediction gives one output row for each input row, in order, or fails and leaves its files as they were."""

import csv
import datetime
import gzip
import itertools
import json
import os
import subprocess
import sys
from collections import deque
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from files import write
from preloaded import python
from runs import train_in

from ostinato import TextClassifier
from ostinato.config import PredictConfig, Task
from ostinato.data.columns import Row
from ostinato.data.files import RowSource
from ostinato.errors import ConfigError, DataError, UserError
from ostinato.inference.output_rows import check_names, plain
from ostinato.inference.stream import predict, texts

ROWS = [
    {"id": "7", "text": "the soup simmers", "note": "=1+1"},
    {"id": "8", "text": "", "note": "-"},
    {"id": "9", "text": "a striker\nscores, twice", "note": "plain"},
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(train_in(tmp_path_factory.mktemp("run"), "training.epochs=1").path)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "in.csv", ROWS)
    return tmp_path


def label(run: str, **config: Any) -> int:
    return predict(
        PredictConfig(run=run, **{"input": "in.csv", "output": "out.jsonl", **config}),
        "text",
        None,
    )


def output(name: str = "out.jsonl") -> list[dict[str, Any]]:
    if name.endswith(".csv"):
        with Path(name).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    return [
        json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()
    ]


def test_every_format_gives_the_same_predictions(run: str, here: Path) -> None:
    names = [
        write(here, f"in.{suffix}", ROWS)
        for suffix in ("tsv", "json", "jsonl", "parquet")
    ]
    for name in ["in.csv", "in.jsonl"]:
        (here / f"{name}.gz").write_bytes(gzip.compress((here / name).read_bytes()))
    expected = TextClassifier.load(run).predict([row["text"] for row in ROWS])
    for name in ["in.csv", "in.csv.gz", "in.jsonl.gz", *names]:
        assert label(run, input=name) == len(ROWS)
        assert output() == expected
    (here / "in.txt").write_text("\n".join(["a", "", "b", ""]) + "\n")
    assert label(run, input="in.txt") == 4


@pytest.mark.parametrize(
    "link", ["", "symlink_to", "hardlink_to", "glob", "other way of writing"]
)
def test_an_output_that_is_the_input_is_refused(
    run: str, here: Path, link: str
) -> None:
    before = (here / "in.csv").read_bytes()
    names = {
        "": "in.csv",
        "glob": "in.csv",
        "other way of writing": f"../{here.name}/./in.csv",
    }
    name = names.get(link, "link.csv")
    if link.endswith("_to"):
        getattr(here / name, link)(here / "in.csv")
    with pytest.raises(ConfigError, match=r"output=.*: is the same file as input="):
        label(run, input="*.csv" if link == "glob" else "in.csv", output=name)
    assert (here / "in.csv").read_bytes() == before


def test_a_redirected_stdin_or_stdout_that_is_the_other_side_is_refused(
    run: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(here, "in.jsonl", ROWS)
    with (here / "in.jsonl").open() as stdin, (here / "in.jsonl").open("a") as stdout:
        for stream, config in (
            ("stdin", {"input": "-"}),
            ("stdout", {"input": "in.jsonl", "output": "-"}),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(sys, stream, {"stdin": stdin, "stdout": stdout}[stream])
                with pytest.raises(ConfigError, match="is the same file as input="):
                    label(run, **{"output": "in.jsonl", **config})
    assert output("in.jsonl") == ROWS


@pytest.mark.parametrize("there", [True, False])
def test_a_row_that_cannot_be_read_leaves_the_output_as_it_was(
    run: str, here: Path, there: bool
) -> None:
    if there:
        (here / "out.csv").write_text("mine")
    rows = [f"text {number}\n" for number in range(3_000)]
    (here / "in.csv").write_text(
        "id,text\n" + "".join(f"{i},{row}" for i, row in enumerate(rows)) + '1,"open\n'
    )
    before = sorted(os.listdir(here))  # noqa: PTH208
    with pytest.raises(DataError, match=r"in\.csv, line 3002: unexpected end of data"):
        label(run, output="out.csv", batch_size=16)
    assert sorted(os.listdir(here)) == before  # noqa: PTH208
    assert not there or (here / "out.csv").read_text() == "mine"


def test_a_link_is_written_through(run: str, here: Path) -> None:
    (here / "folder").mkdir()
    (here / "out.jsonl").symlink_to(here / "folder" / "real.jsonl")
    label(run)
    assert (here / "out.jsonl").is_symlink()
    assert len(output("folder/real.jsonl")) == len(ROWS)


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_kept_columns_come_with_their_rows(run: str, here: Path, name: str) -> None:
    label(run, output=name, keep=["id"])
    assert [row["id"] for row in output(name)] == ["7", "8", "9"]
    assert "note" not in output(name)[0]
    label(run, output=name, keep="all", batch_size=1)
    assert [{key: row[key] for key in ROWS[0]} for row in output(name)] == ROWS


@pytest.mark.parametrize(
    ("column", "config", "message"),
    [
        (
            "label",
            {"keep": ["label"]},
            "keep: the column 'label' has the name of an output column",
        ),
        (
            "score",
            {"keep": "all"},
            "keep: the column 'score' has the name of an output column",
        ),
        ("scores", {"keep": "all"}, "keep: the column 'scores' has the name"),
        (
            "score_sport",
            {"keep": "all", "output": "out.csv"},
            "keep: the column 'score_sport' has the name",
        ),
        (
            "label",
            {"keep": ["lable"]},
            r"no column 'lable' \(keep\).*did you mean keep=label\?",
        ),
        ("id", {"keep": "all"}, "column 'id' occurs 2 times"),
    ],
)
def test_a_column_that_cannot_be_kept_is_refused(
    run: str, here: Path, column: str, config: dict[str, Any], message: str
) -> None:
    (here / "in.csv").write_text(f"id,text,{column}\n1,a,x\n")
    with pytest.raises(UserError, match=message):
        label(run, **config)
    assert os.listdir(here) == ["in.csv"]  # noqa: PTH208


def test_kept_rows_of_several_shapes_fit_json_and_not_csv(run: str, here: Path) -> None:
    (here / "in.jsonl").write_text(
        '{"text": "a"}\n{"text": "b", "more": [1, {"é": null}]}\n', encoding="utf-8"
    )
    label(run, input="in.jsonl", keep="all")
    assert [row.get("more") for row in output()] == [None, [1, {"é": None}]]
    with pytest.raises(DataError, match="a row has other columns than the first"):
        label(run, input="in.jsonl", output="out.csv", keep="all")
    assert not Path("out.csv").exists()


def test_kept_values_of_parquet_keep_their_meaning(run: str, here: Path) -> None:
    columns = {
        "text": ["a"],
        "day": [datetime.date(2026, 1, 2)],
        "price": [Decimal("1.10")],
        "hole": [float("nan")],
        "big": [2**60 + 1],
    }
    pq.write_table(pa.table(columns), here / "in.parquet")
    label(run, input="in.parquet", keep="all")
    assert {name: output()[0][name] for name in columns} == {
        "text": "a",
        "day": "2026-01-02",
        "price": "1.10",
        "hole": None,
        "big": 2**60 + 1,
    }


@pytest.mark.parametrize("value", [b"a", float("inf"), "\ud800", {"a": b""}])
def test_a_kept_value_that_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(
        DataError, match=r"^x, row 1: .*column 'z'|^x, row 1: Out of range"
    ):
        list(
            texts(
                [RowSource("x", [Row("row 1", "a", None, None, {"z": value})])], deque()
            )
        )
    with pytest.raises(ValueError, match="contains an unpaired surrogate"):
        plain("\ud800", 1)


def test_csv_safe_quotes_what_a_spreadsheet_would_compute(run: str, here: Path) -> None:
    label(run, output="out.csv", keep=["note"])
    assert [row["note"] for row in output("out.csv")] == ["=1+1", "-", "plain"]
    label(run, output="out.csv", keep=["note"], csv_safe=True)
    assert [row["note"] for row in output("out.csv")] == ["'=1+1", "'-", "plain"]
    assert all(float(row["score"]) > 0 for row in output("out.csv"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"output": "none/out.csv"}, "output=none/out.csv: no such folder"),
        ({"output": "folder.csv"}, "output=folder.csv: not a file"),
        (
            {"output": "x" * 300 + ".csv"},
            r"not a path that can be written \(File name too long\)",
        ),
        ({"output": "a\0b.csv"}, "not a path that can be written"),
        ({"output": "~nosuchuser/x.csv"}, "not a path that can be written"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused(
    run: str, here: Path, config: dict[str, Any], message: str
) -> None:
    (here / "folder.csv").mkdir()
    with pytest.raises(ConfigError, match=message):
        label(run, **config)


@pytest.mark.parametrize(
    "config",
    [
        {"output": "out.txt"},
        {"output": "out"},
        {"keep": 3},
        {"keep": [1]},
        {"keep": "id"},
        {"csv_safe": True},
    ],
)
def test_an_impossible_configuration_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError,
        match=r"output=.*must be a|keep=.*must be a list|csv_safe=true: .*is not csv",
    ):
        PredictConfig(run="x", **config)


def test_a_label_with_the_separator_is_refused_in_csv(run: str) -> None:
    classifier = TextClassifier.load(run)
    classifier.task, classifier.labels = Task.multi_label, ["a|b", "c"]
    check_names(PredictConfig(output="out.jsonl"), classifier, [])
    with pytest.raises(ConfigError, match=r"the label 'a\|b' contains '\|'"):
        check_names(PredictConfig(output="out.csv"), classifier, [])


def test_an_endless_stream_is_labelled_in_flat_memory(run: str) -> None:
    endless = (
        Row(f"line {number}", "a", None, None, {"id": number})
        for number in itertools.count(1)
    )
    kept: deque[dict[str, Any]] = deque()
    found = TextClassifier.load(run).predict_stream(
        texts([RowSource("stdin", endless)], kept), batch_size=2
    )
    for number in range(1, 100):
        next(found)
        assert kept.popleft() == {"id": number}
        assert len(kept) < 100


@pytest.mark.slow
def test_a_reader_that_stops_early_ends_the_command_quietly(
    run: str, here: Path
) -> None:
    (here / "in.txt").write_text("the soup simmers\n" * 5_000)
    script = Path(__file__).parents[2] / "scripts" / "predict.py"
    command = [python(), str(script), f"run={run}", "input=in.txt", "batch_size=1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert set(json.loads(process.stdout.readline())) == {
            "label",
            "score",
            "scores",
        }
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(timeout=120) == 141
    assert "Error" not in errors
    assert "Traceback" not in errors
