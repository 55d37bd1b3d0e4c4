"""A label has one meaning in every format, or is refused in one line."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from files import load, write
from odd_delimited import HEAD
from outcomes import (
    assert_outcome,
    outcome,
    parquet,
    predict_texts,
    train_rows,
    train_texts,
)

from ostinato.data.labels import natural_sorted

SINGLE = "single_label"
MULTI = "multi_label"
REGRESSION = "regression"
DIGITS = "9" * 5_000
# Task, label in JSON, and its names or value or a part of the error line.
LABELS: list[tuple[str, str, Any]] = [
    (SINGLE, '"x"', ["x"]),
    (SINGLE, '" x "', ["x"]),
    (SINGLE, '"\u00a0x"', ["x"]),
    (SINGLE, "1", ["1"]),
    (SINGLE, "1.0", ["1"]),
    (SINGLE, "true", ["true"]),
    (SINGLE, f'"{DIGITS}"', [DIGITS]),
    (SINGLE, "null", "the label is missing"),
    (SINGLE, "NaN", "the label is missing"),
    (SINGLE, "Infinity", "the label inf is not a name"),
    (SINGLE, "1e999", "the label inf is not a name"),
    (SINGLE, '""', "the label is empty"),
    (SINGLE, '"  "', "the label is empty"),
    (SINGLE, r'"\ud800"', "the label contains an unpaired surrogate"),
    (SINGLE, '["x"]', "the label ['x'] is not a name"),
    (SINGLE, '{"a": 1}', "the label {'a': 1} is not a name"),
    (SINGLE, "[" * 300 + "]" * 300, "is not a name"),
    (MULTI, '"a||b"', ["a", "b"]),
    (MULTI, '"|"', []),
    (MULTI, '""', []),
    (MULTI, "[]", []),
    (MULTI, '" a | b "', ["a", "b"]),
    (MULTI, '"b|a|b"', ["a", "b"]),
    (MULTI, '["a", "a "]', ["a"]),
    (MULTI, '["a|b"]', ["a|b"]),
    (MULTI, "3", ["3"]),
    (MULTI, "null", "the label is missing"),
    (MULTI, "[null]", "the label None is not a name"),
    (MULTI, "[NaN]", "the label nan is not a name"),
    (MULTI, '[["a"]]', "the label ['a'] is not a name"),
    (MULTI, r'["\udfff"]', "the label contains an unpaired surrogate"),
    (REGRESSION, '" -1.5 "', -1.5),
    (REGRESSION, '"1e3"', 1000.0),
    (REGRESSION, '"1,5"', "the label '1,5' is not a number"),
    (REGRESSION, '"1_000"', "the label '1_000' is not a number"),
    (REGRESSION, '"0x10"', "is not a number"),
    (REGRESSION, '""', "is not a number"),
    (REGRESSION, "[1]", "the label [1] is not a number"),
    (REGRESSION, '"inf"', "is not a finite number"),
    (REGRESSION, "Infinity", "is not a finite number"),
    (REGRESSION, "1e39", "is not a finite number"),
    (REGRESSION, "1" + "0" * 400, "is not a finite number"),
    (REGRESSION, f'"{DIGITS}"', "is not a finite number"),
    (REGRESSION, "null", "the label is missing"),
]


@pytest.mark.parametrize(
    ("task", "label", "expected"),
    LABELS,
    ids=[f"{task} {label[:20]}" for task, label, _ in LABELS],
)
def test_a_label_has_one_meaning_or_is_refused(
    tmp_path: Path, task: str, label: str, expected: Any
) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(f'{{"text": "a", "label": {label}}}\n', encoding="utf-8")
    if isinstance(expected, str):
        assert_outcome(outcome(train_texts, str(file), task), expected)
        assert predict_texts(str(file)) == ["a"]
        return
    rows = train_rows(str(file), task)
    if isinstance(expected, list):
        assert list(rows.labels) == expected
    else:
        assert rows.targets.tolist() == [expected]


def test_a_missing_class_number_in_a_column_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    labels = pa.array([2**60 + 1, None])
    file.write_bytes(parquet(text=pa.array(["a", "b"]), label=labels))
    found = outcome(train_texts, str(file))
    assert_outcome(found, "row 2: the label is missing")


def test_numbers_of_any_length_are_sorted_by_size() -> None:
    large = "1" + "0" * 5_000
    names = [DIGITS, large, "10", "9", "007", "7", "a10", "a9"]
    expected = ["007", "7", "9", "10", DIGITS, large, "a9", "a10"]
    assert natural_sorted(names) == expected


def test_long_texts_are_stored_in_smaller_batches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("ostinato.data.arrow_columns._BATCH_CHARACTERS", 10)
    texts = [f"text {number}" for number in range(7)]
    lines = "".join(f"{text},x\n" for text in texts)
    file = tmp_path / "a.csv"
    file.write_bytes(HEAD + lines.encode())
    table = train_rows(str(file)).table
    assert list(table["text"]) == texts
    assert table.data.column("text").num_chunks == 4


LOOKALIKES = {
    "case": (["Spam", "spam", "ham"], "the labels 'Spam' and 'spam' look alike"),
    "Unicode form": (
        ["caf\u00e9", "cafe\u0301"],
        "look alike but are different classes",
    ),
    "width": (["a1", "\uff411"], "look alike"),
    "invisible": (["a", "a\u200b"], r"the labels 'a' and 'a\u200b' look alike"),
    "white space": (["a b", "a  b"], "look alike"),
    "none": (["a", "b", "a b", "ab"], None),
}


@pytest.mark.parametrize("case", LOOKALIKES)
def test_labels_that_look_alike_are_reported_and_remain_different(
    tmp_path: Path, case: str
) -> None:
    labels, warning = LOOKALIKES[case]
    rows = []
    for number in range(20):
        label = labels[number % len(labels)]
        rows.append({"text": f"text {number}", "label": label})
    data = load(train_path=write(tmp_path, "a.jsonl", rows))
    assert set(data.labels) == set(labels)
    if warning is None:
        assert data.warnings == ()
    else:
        assert len(data.warnings) == 1
        assert warning in data.warnings[0]
