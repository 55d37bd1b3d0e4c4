"""Odd inputs: each is read without losing a row, or refused in one line. Training and prediction agree on each."""

import gzip
import io
import os
import sys
from collections import deque
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from files import load, write

from ostinato.config import DataConfig, ModelConfig, RunConfig, Source, Task
from ostinato.data.columns import Columns
from ostinato.data.files import open_files, open_stdin
from ostinato.data.labels import LabelFormat, natural_sorted
from ostinato.data.rows import Rows, _list_array, scan
from ostinato.errors import UserError
from ostinato.inference.stream import texts
from ostinato.sweep.jobs import job_folder

Outcome = (
    list[str] | str
)  # the texts of the rows, or a part of the line that refuses them


def train_rows(path: str, task: str = "single_label") -> Rows:
    """Rows as training reads them."""
    sources = open_files(path, Columns("text", None, "label"), "data.train_path")
    return scan("train", sources, LabelFormat(Task(task), "|"), with_pair=False)


def train_texts(path: str, task: str = "single_label") -> list[str]:
    return list(train_rows(path, task).table["text"])


def predict_texts(path: str) -> list[str]:
    """Texts as prediction reads them."""
    return [
        text
        for text, _ in texts(
            open_files(path, Columns("text", None, prefix=""), "input"), deque()
        )
    ]


def outcome(read: Any, *arguments: Any) -> Outcome:
    """What a reader gives; any error that is not the user's fails the test."""
    try:
        found: Outcome = read(*arguments)
    except UserError as error:
        found = str(error)
    line = found if isinstance(found, str) else ""
    assert "\n" not in line
    assert len(line) < 1000
    line.encode()  # can be written to a log
    return found


def assert_outcome(found: Outcome, expected: Outcome) -> None:
    if isinstance(expected, str):
        assert isinstance(found, str), (
            f"read as {found}, where {expected!r} was expected"
        )
        assert expected in found
    else:
        assert found == expected


def parquet(**columns: Any) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


def json_rows(*values: str) -> bytes:
    return "".join(f'{{"text": {value}, "label": "x"}}\n' for value in values).encode()


HEAD = b"text,label\n"
GOOD = HEAD + b"a,x\nb,y\n"
LINES = b'{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n'
ITEM = b'{"text": "a", "label": "x"}'
X = pa.array(["x"])
LONG = "word " * 40_000  # above the csv module's own limit of 131,072 characters
DEEP = b"[" * 100_000

FILES: list[tuple[str, bytes, Outcome]] = [
    # csv: quotes, fields, lines
    ("good.csv", GOOD, ["a", "b"]),
    ("open_quote.csv", HEAD + b'a,x\n"b,y\nc,x\n', "line 3: unexpected end of data"),
    ("text_after_quote.csv", HEAD + b'"a"b,x\n', "line 2: ',' expected after '\"'"),
    ("doubled_quote.csv", HEAD + b'"say ""a""",x\n', ['say "a"']),
    ("quote_inside.csv", HEAD + b'say "a",x\n', ['say "a"']),
    ("short_row.csv", HEAD + b"a,x\nb\n", "line 3: 1 fields where the header has 2"),
    ("long_row.csv", HEAD + b"a,x\nb,y,z\n", "line 3: 3 fields where the header has 2"),
    ("newline_in_text.csv", HEAD + b'"a\nb",x\nc,y\n', ["a\nb", "c"]),
    ("blank_lines.csv", HEAD + b"\na,x\n\n\nb,y\n\n\n", ["a", "b"]),
    ("blank_before_header.csv", b"\n\n" + GOOD, ["a", "b"]),
    ("no_last_newline.csv", GOOD.rstrip(), ["a", "b"]),
    ("long_text.csv", HEAD + LONG.encode() + b",x\n", [LONG]),
    ("empty_text.csv", HEAD + b",x\n", [""]),
    ("space_text.csv", HEAD + b"  ,x\n", ["  "]),
    ("nan_text.csv", HEAD + b"NaN,x\nnull,y\n", ["NaN", "null"]),
    ("formula.csv", HEAD + b'"=cmd()",x\n', ["=cmd()"]),
    # csv: line ends
    ("cr_only.csv", GOOD.replace(b"\n", b"\r"), ["a", "b"]),
    ("crlf.csv", GOOD.replace(b"\n", b"\r\n"), ["a", "b"]),
    ("mixed_ends.csv", b"text,label\r\na,x\rb,y\nc,x", ["a", "b", "c"]),
    ("u2028.csv", HEAD + "a\u2028b\x85c,x\n".encode(), ["a\u2028b\x85c"]),
    # csv: header
    ("header_only.csv", HEAD, "header_only.csv: holds no rows"),
    ("header_without_end.csv", b"text,label", "holds no rows"),
    ("empty.csv", b"", "the file is empty"),
    ("only_newlines.csv", b"\n\n\n", "holds no rows"),
    ("no_header.csv", b"a,x\nb,y\n", "no column 'text'"),
    (
        "double_column.csv",
        b"text,label,text\na,x,b\n",
        "column 'text' is there 2 times",
    ),
    ("double_other.csv", b"text,label,z,z\na,x,1,2\n", ["a"]),
    ("empty_name.csv", b",text,label\n0,a,x\n", ["a"]),
    ("all_names_empty.csv", b",\na,x\n", "no column 'text'"),
    ("capital.csv", b"Text,label\na,x\n", "no column 'text'"),
    ("spaces_in_header.csv", b" text ,label\na,x\n", "no column 'text'"),
    (
        "semicolons.csv",
        b"text;label\na;x\n",
        "separated by semicolons: save it with commas",
    ),
    ("tabs.csv", b"text\tlabel\na\tx\n", "separated by tabs: name it .tsv"),
    ("commas.tsv", GOOD, "separated by commas: save it with commas as .csv"),
    ("joined.csv", GOOD + b"\xef\xbb\xbf" + GOOD, "line 4: repeats the header"),
    ("escape_in_header.csv", b"\x1b[31mred,label\na,x\n", r"'\x1b[31mred'"),
    # encodings
    ("bom.csv", b"\xef\xbb\xbf" + GOOD, ["a", "b"]),
    ("bom_in_the_middle.csv", HEAD + b"\xef\xbb\xbfa,x\n", ["\ufeffa"]),
    (
        "latin1.csv",
        HEAD + b"a,x\ncaf\xe9,y\n",
        "line 3: byte 0xe9 at position 4; the file is not UTF-8",
    ),
    ("cut_character.csv", HEAD + b"a\xc3", "line 2: byte 0xc3"),
    ("encoded_surrogate.csv", HEAD + b"a\xed\xa0\x80,x\n", "line 2: byte 0xed"),
    ("utf16.csv", GOOD.decode().encode("utf-16"), "encoded as UTF-16"),
    (
        "utf16_without_bom.csv",
        GOOD.decode().encode("utf-16-le"),
        "its content is binary",
    ),
    ("nul.csv", HEAD + b"a\0b,x\n", "its content is binary"),
    (
        "late_nul.csv",
        HEAD + b"a,x\n" * 5_000 + b"a\0b,y\n",
        "line 5002: a NUL byte at position 2",
    ),
    ("emoji.csv", HEAD + "👩‍👩‍👧,x\n".encode(), ["👩‍👩‍👧"]),
    # content of another kind
    ("sheet.csv", b"PK\x03\x04\x14\0\6\0", "a spreadsheet or zip archive"),
    ("old_sheet.csv", b"\xd0\xcf\x11\xe0\xa1\xb1", "an old spreadsheet"),
    ("gzip.csv", gzip.compress(GOOD), "gzip-compressed; add .gz to its name"),
    ("csv.json", GOOD, "line 1: not JSON"),
    ("json.csv", b"[" + ITEM + b"]", "no column 'text'"),
    ("parquet.csv", parquet(text=X, label=X), "its content is parquet"),
    ("x.xlsx", b"PK\x03\x04", "unknown format '.xlsx'"),
    ("x.parquet.gz", b"", "unknown format '.parquet.gz'"),
    ("noname", GOOD, "unknown format ''"),
    # gzip
    ("a.csv.gz", gzip.compress(GOOD), ["a", "b"]),
    ("a.tsv.gz", gzip.compress(GOOD.replace(b",", b"\t")), ["a", "b"]),
    ("a.jsonl.gz", gzip.compress(LINES), ["a", "b"]),
    ("a.json.gz", gzip.compress(b"[" + ITEM + b"]"), ["a"]),
    ("A.CSV.GZ", gzip.compress(GOOD), ["a", "b"]),
    (
        "two_members.csv.gz",
        gzip.compress(GOOD) + gzip.compress(b"c,x\n"),
        ["a", "b", "c"],
    ),
    ("plain.csv.gz", GOOD, "cannot be read (Not a gzipped file"),
    ("cut.csv.gz", gzip.compress(HEAD + b"a,x\n" * 100)[:-12], "damaged, or cut off"),
    (
        "changed.csv.gz",
        gzip.compress(GOOD)[:-8] + bytes(8),
        "cannot be read (CRC check failed",
    ),
    ("empty.csv.gz", gzip.compress(b""), "the file is empty"),
    # json: lists
    ("list.json", b"[" + ITEM + b"," + ITEM + b"]", ["a", "a"]),
    ("spaces.json", b" \n\r\t[ \n" + ITEM + b" \n, " + ITEM + b"\n]\n\n ", ["a", "a"]),
    ("bom.json", b"\xef\xbb\xbf[" + ITEM + b"]", ["a"]),
    (
        "two_lists.json",
        b"[" + ITEM + b"]\n[" + ITEM + b"]",
        "there is more after the end of the list",
    ),
    (
        "list_and_text.json",
        b"[" + ITEM + b"] end",
        "there is more after the end of the list",
    ),
    (
        "list_and_bracket.json",
        b"[" + ITEM + b"]]",
        "there is more after the end of the list",
    ),
    (
        "empty_list_and_list.json",
        b"[][" + ITEM + b"]",
        "there is more after the end of the list",
    ),
    ("last_comma.json", b"[" + ITEM + b",]", "item 2: not JSON"),
    ("only_comma.json", b"[,]", "item 1: not JSON"),
    ("two_commas.json", b"[" + ITEM + b",," + ITEM + b"]", "item 2: not JSON"),
    ("no_comma.json", b"[" + ITEM + ITEM + b"]", "item 1: not JSON"),
    ("open_list.json", b"[" + ITEM, "item 1: not JSON"),
    ("open_list_after_comma.json", b"[" + ITEM + b",", "item 2: not JSON"),
    ("only_bracket.json", b"[", "item 1: not JSON"),
    ("empty_list.json", b"[]", "holds no rows"),
    ("empty.json", b"", "the file is empty"),
    ("blank.json", b" \n ", "holds no rows"),
    ("two_objects.json", ITEM + ITEM, "line 1: not JSON (Extra data"),
    ("pretty_object.json", b'{\n"text": "a"\n}', "line 1: not JSON"),
    ("lists_in_list.json", b"[[1], [2]]", "item 1: not a JSON object"),
    ("null_item.json", b"[" + ITEM + b", null]", "item 2: not a JSON object"),
    ("string.json", b'"a"', "line 1: not a JSON object"),
    ("latin1.json", b'[{"text": "caf\xe9", "label": "x"}]', "byte 0xe9"),
    # json: values
    ("deep.json", DEEP, "item 1: nested too deeply"),
    ("deep.jsonl", b'{"text": ' + DEEP, "line 1: nested too deeply"),
    ("huge.jsonl", json_rows("1" * 5_000), "line 1: Exceeds the limit (4300 digits)"),
    (
        "huge.json",
        b'[{"text": ' + b"1" * 5_000 + b"}]",
        "item 1: Exceeds the limit (4300 digits)",
    ),
    ("large_number.jsonl", json_rows("1" + "0" * 400), ["1" + "0" * 400]),
    (
        "half.jsonl",
        json_rows(r'"\ud800"'),
        r"line 1: the text has half of a surrogate pair ('\ud800')",
    ),
    ("halves.jsonl", json_rows(r'"\ud83d\ude00"'), ["😀"]),
    (
        "half_in_name.jsonl",
        b'{"\\ud800": "a", "label": "x"}',
        r"the columns are '\ud800'",
    ),
    ("nul.jsonl", json_rows(r'"a\u0000b"'), ["a\0b"]),
    ("null.jsonl", json_rows("null", '"b"'), ["", "b"]),
    ("nan.jsonl", json_rows("NaN"), [""]),
    ("infinity.jsonl", json_rows("-Infinity"), "the text is an infinite number"),
    ("overflow.jsonl", json_rows("1e999"), "the text is an infinite number"),
    ("number.jsonl", json_rows("5"), ["5"]),
    ("bool.jsonl", json_rows("true"), "the text is a bool, not a string"),
    ("list.jsonl", json_rows('["a"]'), "the text is a list, not a string"),
    (
        "double_key.jsonl",
        b'{"text": "a", "label": "x", "text": "b"}',
        "column 'text' is there 2 times",
    ),
    # json lines
    ("blank_lines.jsonl", b"\n" + LINES + b"\n \n", ["a", "b"]),
    ("cr_only.jsonl", LINES.replace(b"\n", b"\r"), ["a", "b"]),
    ("crlf.jsonl", LINES.replace(b"\n", b"\r\n"), ["a", "b"]),
    ("u2028.jsonl", json_rows('"a\u2028b"'), ["a\u2028b"]),
    ("bom.jsonl", b"\xef\xbb\xbf" + LINES, ["a", "b"]),
    ("bom_in_the_middle.jsonl", LINES + b"\xef\xbb\xbf" + LINES, "line 3: not JSON"),
    (
        "other_keys.jsonl",
        LINES + b'{"label": "x", "body": "c"}',
        "line 3: no column 'text'",
    ),
    (
        "more_keys.jsonl",
        LINES + b'{"label": "x", "text": "c", "more": 1}',
        ["a", "b", "c"],
    ),
    ("list.jsonl", b"[1, 2]", "line 1: not a JSON object"),
    ("garbage.jsonl", LINES + b"...", "line 3: not JSON"),
    ("single_quotes.jsonl", b"{'text': 'a', 'label': 'x'}", "line 1: not JSON"),
    # parquet
    (
        "a.parquet",
        parquet(text=pa.array(["a", None]), label=pa.array(["x", "y"])),
        ["a", ""],
    ),
    ("large.parquet", parquet(text=pa.array(["a"], pa.large_string()), label=X), ["a"]),
    (
        "dictionary.parquet",
        parquet(text=pa.array(["a", "b", "a"]).dictionary_encode(), label=["x"] * 3),
        list("aba"),
    ),
    (
        "nested.parquet",
        parquet(text=pa.array([{"a": 1}]), label=X),
        "row 1: the text is a dict",
    ),
    (
        "binary.parquet",
        parquet(text=pa.array([b"a"]), label=X),
        "row 1: the text is a bytes",
    ),
    (
        "decimal.parquet",
        parquet(text=pa.array([Decimal("1.5")]), label=X),
        "row 1: the text is a Decimal",
    ),
    (
        "time.parquet",
        parquet(text=pa.array([0], pa.timestamp("s")), label=X),
        "row 1: the text is a datetime",
    ),
    (
        "far_time.parquet",
        parquet(text=pa.array([10**15], pa.timestamp("s")), label=X),
        "a value cannot be read",
    ),
    (
        "not_utf8.parquet",
        parquet(text=pa.array([b"\xff"]).view(pa.string()), label=X),
        "a value cannot be read",
    ),
    ("cut.parquet", parquet(text=X, label=X)[:-10], "not a readable parquet file"),
    (
        "no_rows.parquet",
        parquet(text=pa.array([], pa.string()), label=pa.array([], pa.string())),
        "holds no rows",
    ),
    ("csv.parquet", GOOD, "not a readable parquet file"),
    ("empty.parquet", b"", "the file is empty"),
    ("no_text.parquet", parquet(body=X, label=X), "no column 'text'"),
]


@pytest.mark.parametrize(
    ("name", "content", "expected"), FILES, ids=[name for name, *_ in FILES]
)
def test_training_and_prediction_read_the_same_rows_or_refuse_both(
    tmp_path: Path, name: str, content: bytes, expected: Outcome
) -> None:
    (tmp_path / name).write_bytes(content)
    found = outcome(train_texts, str(tmp_path / name))
    again = outcome(predict_texts, str(tmp_path / name))
    assert_outcome(found, expected)
    assert_outcome(again, expected)


PREDICTED: list[
    tuple[str, bytes, Outcome]
] = [  # files without labels: training refuses these
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
def test_prediction_needs_no_labels_and_training_does(
    tmp_path: Path, name: str, content: bytes, expected: Outcome
) -> None:
    (tmp_path / name).write_bytes(content)
    assert_outcome(outcome(predict_texts, str(tmp_path / name)), expected)
    assert isinstance(outcome(train_texts, str(tmp_path / name)), str)


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
def test_stdin_is_lines_or_json_lines_or_refused(
    monkeypatch: pytest.MonkeyPatch, content: bytes, expected: Outcome
) -> None:
    monkeypatch.setattr(
        sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content)))
    )
    sources = open_stdin(Columns("text", None, prefix=""), "input")
    assert_outcome(
        outcome(lambda: [text for text, _ in texts(sources, deque())]), expected
    )


def test_a_closed_stdin_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UserError, match="input=-: standard input is closed"):
        open_stdin(Columns("text", None, prefix=""), "input")


def test_plain_lines_are_refused_where_the_model_needs_two_texts(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.txt").write_text("a\n")
    sources = open_files(
        str(tmp_path / "a.txt"), Columns("text", "second", prefix=""), "input"
    )
    with pytest.raises(
        UserError,
        match=r"no column 'second' \(text_pair_column\).*plain lines have one text each",
    ):
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
def test_a_path_that_cannot_be_read_is_refused_by_both(
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


def test_a_file_name_with_the_characters_of_a_glob_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a[1].csv").write_bytes(GOOD)
    assert predict_texts(str(tmp_path / "a[1].csv")) == ["a", "b"]


SINGLE, MULTI, REGRESSION = "single_label", "multi_label", "regression"
DIGITS = "9" * 5_000
LABELS: list[
    tuple[str, str, Any]
] = [  # task, label in JSON, its names or value, or a part of the line that refuses it
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
    (SINGLE, r'"\ud800"', "the label has half of a surrogate pair"),
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
    (MULTI, r'["\udfff"]', "the label has half of a surrogate pair"),
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
def test_a_label_means_one_thing_or_is_refused(
    tmp_path: Path, task: str, label: str, expected: Any
) -> None:
    (tmp_path / "a.jsonl").write_text(
        f'{{"text": "a", "label": {label}}}\n', encoding="utf-8"
    )
    if isinstance(expected, str):
        assert_outcome(outcome(train_texts, str(tmp_path / "a.jsonl"), task), expected)
        assert predict_texts(str(tmp_path / "a.jsonl")) == ["a"]
        return
    rows = train_rows(str(tmp_path / "a.jsonl"), task)
    assert (
        list(rows.labels) == expected
        if isinstance(expected, list)
        else rows.targets.tolist() == [expected]
    )


def test_a_hole_in_a_column_of_class_numbers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(
        parquet(text=pa.array(["a", "b"]), label=pa.array([2**60 + 1, None]))
    )
    assert_outcome(
        outcome(train_texts, str(tmp_path / "a.parquet")), "row 2: the label is missing"
    )


def test_numbers_of_any_length_sort_by_size() -> None:
    names = [DIGITS, "1" + "0" * 5_000, "10", "9", "007", "7", "a10", "a9"]
    assert natural_sorted(names) == [
        "007",
        "7",
        "9",
        "10",
        DIGITS,
        "1" + "0" * 5_000,
        "a9",
        "a10",
    ]


def test_multi_hot_rows_beyond_32_bit_offsets_go_into_several_chunks() -> None:
    values = np.arange(30, dtype=np.float32).reshape(10, 3)
    cut = _list_array(values, longest=7)
    assert [len(chunk) for chunk in cut.chunks] == [2] * 5
    assert cut.to_pylist() == values.tolist()
    assert _list_array(values).num_chunks == 1


def test_long_texts_are_stored_in_smaller_batches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("ostinato.data.rows._BATCH_CHARACTERS", 10)
    rows = [f"text {number}" for number in range(7)]
    (tmp_path / "a.csv").write_bytes(
        HEAD + "".join(f"{text},x\n" for text in rows).encode()
    )
    table = train_rows(str(tmp_path / "a.csv")).table
    assert list(table["text"]) == rows
    assert table.data.column("text").num_chunks == 4


def test_the_identity_of_a_job_reads_every_file_that_training_reads(
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


LOOKALIKES = {
    "case": (["Spam", "spam", "ham"], "the labels 'Spam' and 'spam' look alike"),
    "Unicode form": (
        ["caf\u00e9", "cafe\u0301"],
        "look alike and are different classes",
    ),
    "width": (["a1", "\uff411"], "look alike"),
    "invisible": (["a", "a\u200b"], r"the labels 'a' and 'a\u200b' look alike"),
    "white space": (["a b", "a  b"], "look alike"),
    "none": (["a", "b", "a b", "ab"], None),
}


@pytest.mark.parametrize("case", LOOKALIKES)
def test_labels_that_look_alike_are_reported_and_stay_apart(
    tmp_path: Path, case: str
) -> None:
    labels, warning = LOOKALIKES[case]
    rows = [
        {"text": f"text {number}", "label": labels[number % len(labels)]}
        for number in range(20)
    ]
    data = load(train_path=write(tmp_path, "a.jsonl", rows))
    assert set(data.labels) == set(labels)
    assert len(data.warnings) == (warning is not None)
    assert warning is None or warning in data.warnings[0]
