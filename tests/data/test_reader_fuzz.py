"""Training and prediction read the same rows of a random file, or both refuse it."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outcomes import Outcome, outcome, predict_texts, train_texts
from runs import train_in

from ostinato import TextClassifier
from ostinato.config import PredictConfig
from ostinato.data.texts import text_of
from ostinato.inference import stream

CSV = [
    b"text,label",
    b"label,text,id",
    b"text\tlabel",
    b"a,x",
    b"b\ty",
    b"a",
    b",",
    b"\t",
    b";",
    b'"',
    b'""',
    b'"a,\nb",x',
]
JSON = [
    *(
        b'{"text": "a", "label": "x"}',
        b'{"label": 1, "text": null}',
        b'"text"',
        b'"label"',
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
    ),
    *(
        b":",
        b",",
        b"null",
        b"NaN",
        b"Infinity",
        b"true",
        b"1",
        b"-",
        b"1e999",
        b"\\",
        b"\\ud800",
        b"\\u0041",
        b"[[[[",
    ),
]
ANY = [
    b"\n",
    b"\r",
    b"\r\n",
    b" ",
    b"\xef\xbb\xbf",
    b"\0",
    b"\xe9",
    "é\u2028👩".encode(),
    b"=",
    b"9" * 20,
    b"x" * 50,
]
BEGINNINGS = {
    "csv": [
        b"text,label\n",
        b"\xef\xbb\xbftext,label\r\n",
        b"label,text,label2\r",
        b'"text","label"\n',
        b"",
    ],
    "tsv": [b"text\tlabel\n", b"id\ttext\tlabel\r\n", b""],
    "json": [
        b"[",
        b"\xef\xbb\xbf[",
        b'[{"text": "a", "label": "x"},',
        b'[{"text": "a", "label": "x"}]',
        b"",
    ],
    "jsonl": [b"", b"\xef\xbb\xbf", b'{"text": "a", "label": "x"}\n'],
}
ROWS = {
    "csv": [b"a,x\n", b"b,y\r\n", b'"a ""q""\nb",x\n', b"c,x\r", b"\n"],
    "tsv": [b"a\tx\n", b'"b\tc"\ty\n', b"\n"],
    "json": [
        b'{"text": "a", "label": "x"},',
        b'{"text": "b]", "label": "y"}',
        b"]",
        b" \n",
    ],
    "jsonl": [
        b'{"text": "a", "label": "x"}\n',
        b'{"text": "b", "label": "y"}\r',
        b" \n",
    ],
}


@st.composite
def files(draw: st.DrawFn, suffix: str) -> bytes:
    """A beginning and rows, some of them odd."""
    odd = st.sampled_from([*(CSV if suffix in ("csv", "tsv") else JSON), *ANY])
    row = st.sampled_from(ROWS[suffix])
    pieces = draw(st.lists(st.one_of(row, row, row, odd), max_size=8))
    return draw(st.sampled_from(BEGINNINGS[suffix])) + b"".join(pieces)


def rows_by_standard_library(suffix: str, content: bytes) -> list[str]:
    """The texts of a valid file, read by the standard library."""
    text = content.decode("utf-8-sig")
    if suffix in ("csv", "tsv"):
        table = csv.reader(
            io.StringIO(text, newline=""),
            delimiter="," if suffix == "csv" else "\t",
            strict=True,
        )
        header, *rows = [fields for fields in table if fields]
        return [fields[header.index("text")] for fields in rows]
    if text.lstrip(" \t\r\n").startswith("["):
        return [text_of(row["text"]) for row in json.loads(text)]
    lines = [line for line in re.split("\r\n|\r|\n", text) if line.strip(" \t")]
    return [text_of(json.loads(line)["text"]) for line in lines]


def check(folder: Path, suffix: str, content: bytes) -> Outcome:
    path = folder / f"x.{suffix}"
    path.write_bytes(content)
    trained = outcome(train_texts, str(path))
    predicted = outcome(predict_texts, str(path))
    if isinstance(predicted, list):
        assert predicted == rows_by_standard_library(suffix, content)
    if isinstance(trained, list):
        assert predicted == trained
    elif isinstance(predicted, list):
        assert "label" in trained, f"training refuses what prediction reads: {trained}"
    return predicted


@pytest.mark.parametrize("suffix", BEGINNINGS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_reader_loses_a_row(
    tmp_path: Path, suffix: str, data: st.DataObject
) -> None:
    check(tmp_path, suffix, data.draw(files(suffix)))


@pytest.mark.proof
@pytest.mark.parametrize("suffix", BEGINNINGS)
@settings(
    max_examples=3_000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), chunk=st.integers(1, 30))
def test_no_reader_loses_a_row_in_many_files(
    tmp_path: Path, suffix: str, data: st.DataObject, chunk: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ostinato.data.json_rows._CHUNK", chunk)
        check(tmp_path, suffix, data.draw(files(suffix)))


@pytest.mark.proof
@pytest.mark.parametrize("suffix", BEGINNINGS)
@settings(
    max_examples=1_000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=st.binary(max_size=60))
def test_random_bytes_are_read_or_refused(
    tmp_path: Path, suffix: str, content: bytes
) -> None:
    check(tmp_path, suffix, content)


def test_the_random_files_are_often_readable(tmp_path: Path) -> None:
    """Files that are always refused would make the other tests useless."""
    found = []

    @settings(max_examples=40, database=None, derandomize=True)
    @given(data=st.data())
    def draw(data: st.DataObject) -> None:
        found.extend(
            isinstance(check(tmp_path, s, data.draw(files(s))), list)
            for s in ("csv", "jsonl")
        )

    draw()
    assert 0.1 < sum(found) / len(found) < 0.95


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> TextClassifier:
    run = train_in(tmp_path_factory.mktemp("run"), "training.epochs=1")
    return TextClassifier.load(run.path)


def check_predictions(
    folder: Path, classifier: TextClassifier, suffix: str, content: bytes
) -> bool:
    """Predicts a file: one output row for each input row, in order, or no change.

    Returns:
        Whether the file was predicted.
    """
    path, output = folder / f"x.{suffix}", folder / "out.jsonl"
    path.write_bytes(content)
    output.write_text("mine")
    cfg = PredictConfig(run="x", input=str(path), output=str(output), batch_size=2)
    with pytest.MonkeyPatch.context() as patch:
        # Loaded once for all files.
        patch.setattr(stream, "_load", lambda cfg: classifier)
        num_rows: Any = outcome(stream.predict, cfg, "text", None)
    assert sorted(folder.iterdir()) == sorted((path, output))
    if isinstance(num_rows, str):
        assert output.read_text() == "mine"
        return False
    texts = rows_by_standard_library(suffix, content)
    written = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(written) == num_rows == len(texts)
    assert written == classifier.predict(texts, batch_size=2)
    return True


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_prediction_writes_one_row_per_input_row_or_refuses(
    tmp_path: Path, classifier: TextClassifier, suffix: str
) -> None:
    predicted = []

    @settings(max_examples=20, database=None, derandomize=True)
    @given(content=files(suffix))
    def draw(content: bytes) -> None:
        predicted.append(check_predictions(tmp_path, classifier, suffix, content))

    draw()
    assert 0 < sum(predicted) < len(predicted)


@pytest.mark.proof
@pytest.mark.parametrize("suffix", BEGINNINGS)
@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_prediction_of_many_files_writes_one_row_per_input_row_or_refuses(
    tmp_path: Path, classifier: TextClassifier, suffix: str, data: st.DataObject
) -> None:
    check_predictions(tmp_path, classifier, suffix, data.draw(files(suffix)))
