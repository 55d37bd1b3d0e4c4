"""Kept columns, scores and labels are written as JSON and CSV."""

import datetime
from collections import deque
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prediction import ROWS, predict_with, read_output

from ostinato import TextClassifier
from ostinato.config import PredictConfig, Task
from ostinato.data.columns import Row
from ostinato.data.files import RowSource
from ostinato.errors import ConfigError, DataError, UserError
from ostinato.inference.output_rows import check_names, json_value
from ostinato.inference.stream import texts

IS_OUTPUT = "has the name of an output column"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_kept_columns_are_repeated_with_their_rows(
    run_folder: str, here: Path, name: str
) -> None:
    predict_with(run_folder, output=name, keep=["id"])
    assert [row["id"] for row in read_output(name)] == ["7", "8", "9"]
    assert "note" not in read_output(name)[0]
    predict_with(run_folder, output=name, keep="all", batch_size=1)
    kept = [{key: row[key] for key in ROWS[0]} for row in read_output(name)]
    assert kept == ROWS


@pytest.mark.parametrize(
    ("column", "config", "message"),
    [
        ("label", {"keep": ["label"]}, f"keep: the column 'label' {IS_OUTPUT}"),
        ("score", {"keep": "all"}, f"keep: the column 'score' {IS_OUTPUT}"),
        ("scores", {"keep": "all"}, f"keep: the column 'scores' {IS_OUTPUT}"),
        (
            "score_sport",
            {"keep": "all", "output": "out.csv"},
            f"keep: the column 'score_sport' {IS_OUTPUT}",
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
    run_folder: str, here: Path, column: str, config: dict[str, Any], message: str
) -> None:
    (here / "in.csv").write_text(f"id,text,{column}\n1,a,x\n")
    with pytest.raises(UserError, match=message):
        predict_with(run_folder, **config)
    assert [path.name for path in here.iterdir()] == ["in.csv"]


def test_rows_with_different_columns_fit_json_but_not_csv(
    run_folder: str, here: Path
) -> None:
    (here / "in.jsonl").write_text(
        '{"text": "a"}\n{"text": "b", "more": [1, {"é": null}]}\n', encoding="utf-8"
    )
    predict_with(run_folder, input="in.jsonl", keep="all")
    assert [row.get("more") for row in read_output()] == [None, [1, {"é": None}]]
    with pytest.raises(DataError, match="a row has other columns than the first"):
        predict_with(run_folder, input="in.jsonl", output="out.csv", keep="all")
    assert not Path("out.csv").exists()


def test_kept_values_of_parquet_are_converted_to_json(
    run_folder: str, here: Path
) -> None:
    columns = {
        "text": ["a"],
        "day": [datetime.date(2026, 1, 2)],
        "price": [Decimal("1.10")],
        "hole": [float("nan")],
        "big": [2**60 + 1],
    }
    pq.write_table(pa.table(columns), here / "in.parquet")
    predict_with(run_folder, input="in.parquet", keep="all")
    assert {name: read_output()[0][name] for name in columns} == {
        "text": "a",
        "day": "2026-01-02",
        "price": "1.10",
        "hole": None,
        "big": 2**60 + 1,
    }


@pytest.mark.parametrize("value", [b"a", float("inf"), "\ud800", {"a": b""}])
def test_a_kept_value_that_json_cannot_hold_is_refused(value: Any) -> None:
    source = RowSource("x", [Row("row 1", "a", None, None, {"z": value})])
    message = r"^x, row 1: .*column 'z'|^x, row 1: Out of range"
    with pytest.raises(DataError, match=message):
        list(texts([source], deque()))


def test_a_column_name_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="contains an unpaired surrogate"):
        json_value("\ud800", 1)


def test_csv_safe_quotes_formulas(run_folder: str, here: Path) -> None:
    predict_with(run_folder, output="out.csv", keep=["note"])
    notes = [row["note"] for row in read_output("out.csv")]
    assert notes == ["=1+1", "-", "plain"]

    predict_with(run_folder, output="out.csv", keep=["note"], csv_safe=True)
    rows = read_output("out.csv")
    assert [row["note"] for row in rows] == ["'=1+1", "'-", "plain"]
    assert all(float(row["score"]) > 0 for row in rows)


def test_a_label_that_contains_the_separator_is_refused_in_csv(run_folder: str) -> None:
    classifier = TextClassifier.load(run_folder)
    classifier.task, classifier.labels = Task.multi_label, ["a|b", "c"]
    check_names(PredictConfig(output="out.jsonl"), classifier, [])
    with pytest.raises(ConfigError, match=r"the label 'a\|b' contains '\|'"):
        check_names(PredictConfig(output="out.csv"), classifier, [])
