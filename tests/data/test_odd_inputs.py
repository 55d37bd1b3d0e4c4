"""Training and prediction read the same rows of an odd file, or both refuse it.

A refusal is one line, and no row is lost.
"""

import gzip
import io
import os
import sys
from collections import deque
from pathlib import Path

import pytest
from odd_delimited import DELIMITED, GOOD
from odd_json import JSON
from odd_parquet import PARQUET
from outcomes import Outcome, assert_outcome, outcome, predict_texts, train_texts

from ostinato.config import DataConfig, ModelConfig, RunConfig, Source
from ostinato.data.columns import Columns
from ostinato.data.files import open_files, open_stdin
from ostinato.errors import UserError
from ostinato.inference.stream import texts
from ostinato.sweep.jobs import job_folder

FILES = [*DELIMITED, *JSON, *PARQUET]


@pytest.mark.parametrize(
    ("name", "content", "expected"), FILES, ids=[name for name, *_ in FILES]
)
def test_training_and_prediction_read_the_same_rows_or_both_refuse(
    tmp_path: Path, name: str, content: bytes, expected: Outcome
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    trained = outcome(train_texts, str(file))
    predicted = outcome(predict_texts, str(file))
    assert_outcome(trained, expected)
    assert_outcome(predicted, expected)


# Files without labels: training refuses them.
PREDICTED: list[tuple[str, bytes, Outcome]] = [
    ("a.txt", b"a\n\nb\n\n", ["a", "", "b", ""]),
    ("a.txt.gz", gzip.compress(b"a\nb"), ["a", "b"]),
    ("json.txt", b'{"text": "a"}\n', ['{"text": "a"}']),
    ("ends.txt", b"a\r\nb\rc", ["a", "b", "c"]),
    ("u2028.txt", "a\u2028b\n".encode(), ["a\u2028b"]),
    ("spaces.txt", b" a \n", [" a "]),
    ("quotes.txt", b'"a\nb,c\n', ['"a', "b,c"]),
    ("latin1.txt", b"a\n\xe9", "line 2: byte 0xe9"),
    ("empty.txt", b"", "the file is empty"),
    ("one_column.csv", b'text\na\n""\nb\n\n\n', ["a", "", "b"]),
    (
        "one_column_blank.csv",
        b"text\na\n\nb\n",
        'line 3: blank; with one column, write "" for an empty text',
    ),
    ("no_label.jsonl", b'{"text": "a"}', ["a"]),
]


@pytest.mark.parametrize(
    ("name", "content", "expected"), PREDICTED, ids=[name for name, *_ in PREDICTED]
)
def test_only_training_needs_labels(
    tmp_path: Path, name: str, content: bytes, expected: Outcome
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    predicted = outcome(predict_texts, str(file))
    trained = outcome(train_texts, str(file))
    assert_outcome(predicted, expected)
    assert isinstance(trained, str)


STDIN: list[tuple[bytes, Outcome]] = [
    (b"a\nb\n", ["a", "b"]),
    (b"a\n\nb", ["a", "", "b"]),
    (b'{"text": "a"}\n\n{"text": null}\n', ["a", ""]),
    (b"\xef\xbb\xbfa\n", ["a"]),
    (b'\xef\xbb\xbf{"text": "a"}\n', ["a"]),
    (b'{"text": "a"}\nb\n', "stdin, line 2: not JSON"),
    (b'a\n{"text": "b"}\n', "stdin, line 2: JSON, but line 1 is plain text"),
    (b"{braces} in a text\n", "stdin, line 1: not JSON"),
    (b"a\n{braces} in a text\n", ["a", "{braces} in a text"]),
    (b"a\n\xe9\n", "stdin, line 2: byte 0xe9"),
    (b"a" * 200_000, ["a" * 200_000]),
    (b"", "stdin: no input"),
    (gzip.compress(b"a", mtime=0), "stdin: its content is gzip-compressed"),
    ("a\n".encode("utf-16"), "stdin: encoded as UTF-16"),
    (b'{"body": "a"}\n', "stdin, line 1: no column 'text' (text_column)"),
    (b'{"text": ["a"]}\n', "stdin, line 1: the text is a list"),
]


@pytest.mark.parametrize(
    ("content", "expected"),
    STDIN,
    ids=[f"{number}-{content[:20]!r}" for number, (content, _) in enumerate(STDIN)],
)
def test_stdin_is_read_as_lines_or_json_lines_or_refused(
    monkeypatch: pytest.MonkeyPatch, content: bytes, expected: Outcome
) -> None:
    stdin = io.TextIOWrapper(io.BufferedReader(io.BytesIO(content)))
    monkeypatch.setattr(sys, "stdin", stdin)
    sources = open_stdin(Columns("text", None, prefix=""), "input")
    found = outcome(lambda: [text for text, _ in texts(sources, deque())])
    assert_outcome(found, expected)


def test_a_closed_stdin_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UserError, match="input=-: standard input is closed"):
        open_stdin(Columns("text", None, prefix=""), "input")


def test_plain_lines_are_refused_if_the_model_needs_two_texts(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("a\n")
    sources = open_files(str(file), Columns("text", "second", prefix=""), "input")
    message = r"no column 'second' \(text_pair_column\).*plain lines have one text each"
    with pytest.raises(UserError, match=message):
        list(texts(sources, deque()))


PATHS = {
    "~nosuchuser/x.csv": "no such file",
    "x" * 300 + ".csv": "not a path that can be read (File name too long)",
    "a\0b.csv": "not a path that can be read (it contains a NUL character)",
    ".": "it is a folder: try ./*.csv",
    "": "it is a folder",
    "good.csv/x.csv": "no such file",
    "goof.csv": "did you mean good.csv?",
    "*.tsv": "no file matches this glob",
    "loop.csv": "no such file",
    "pipe.csv": "it is a pipe or a device",
    "\x1b[31m.csv": "no file matches this glob",
    "[a.csv": "no file matches this glob",
}


@pytest.mark.parametrize("path", PATHS)
def test_training_and_prediction_refuse_a_path_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    (tmp_path / "good.csv").write_bytes(GOOD)
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    monkeypatch.chdir(tmp_path)
    for key, read in (("data.train_path=", train_texts), ("input=", predict_texts)):
        found = outcome(read, path)
        assert_outcome(found, PATHS[path])
        assert str(found).startswith(key)


def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret.csv"
    file.write_bytes(GOOD)
    file.chmod(0)
    if os.access(file, os.R_OK):
        pytest.skip("this user may read every file")
    assert "cannot be read (Permission denied)" in outcome(train_texts, str(file))


def test_a_file_name_with_glob_characters_is_read_as_a_file(tmp_path: Path) -> None:
    file = tmp_path / "a[1].csv"
    file.write_bytes(GOOD)
    assert predict_texts(str(file)) == ["a", "b"]


def test_the_identity_of_a_job_depends_on_every_file_that_training_reads(
    tmp_path: Path,
) -> None:
    file = tmp_path / "a[1].csv"
    data = DataConfig(
        source=Source.files, train_path=str(file), val_path="~nosuchuser/x.csv"
    )
    config = RunConfig(model=ModelConfig(name="tiny"), data=data)
    folders = set()
    for content in (GOOD, GOOD + b"c,x\n"):
        file.write_bytes(content)
        folders.add(job_folder(tmp_path, "job", config))
    assert len(folders) == 2
