"""What training and prediction read from a file: texts, or the line that refuses it."""

import io
from collections import deque
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ostinato.config import Task
from ostinato.data.columns import Columns
from ostinato.data.files import open_files
from ostinato.data.labels import LabelFormat
from ostinato.data.rows import Rows
from ostinato.data.scanning import scan
from ostinato.errors import UserError
from ostinato.inference.stream import texts

# The texts of the rows, or a part of the error line.
Outcome = list[str] | str


def train_rows(path: str, task: str = "single_label") -> Rows:
    """Reads rows as training does."""
    columns = Columns("text", None, "label")
    sources = open_files(path, columns, "data.train_path")
    return scan("train", sources, LabelFormat(Task(task), "|"), with_pair=False)


def train_texts(path: str, task: str = "single_label") -> list[str]:
    return list(train_rows(path, task).table["text"])


def predict_texts(path: str) -> list[str]:
    """Reads texts as prediction does."""
    columns = Columns("text", None, prefix="")
    sources = open_files(path, columns, "input")
    return [text for text, _ in texts(sources, deque())]


def outcome(read: Any, *arguments: Any) -> Outcome:
    """Calls a reader; an error that is not a user error fails the test."""
    try:
        found: Outcome = read(*arguments)
    except UserError as error:
        found = str(error)
    if isinstance(found, str):
        assert "\n" not in found
        assert len(found) < 1000
        found.encode()  # can be written to a log
    return found


def assert_outcome(found: Outcome, expected: Outcome) -> None:
    if isinstance(expected, list):
        assert found == expected
        return
    assert isinstance(found, str), f"read as {found}, but expected {expected!r}"
    assert expected in found


def parquet(**columns: Any) -> bytes:
    """The content of a parquet file."""
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()
