"""Prediction writes one output row for each input row, in order, or changes no file."""

import gzip
import itertools
import json
import subprocess
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from files import write
from prediction import ROWS, predict_with, read_output
from preloaded import python

from ostinato import TextClassifier
from ostinato.data.columns import Row
from ostinato.data.files import RowSource
from ostinato.errors import DataError
from ostinato.inference.stream import texts


@pytest.mark.slow
def test_every_format_gives_the_same_predictions(run_folder: str, here: Path) -> None:
    suffixes = ("tsv", "json", "jsonl", "parquet")
    names = [write(here, f"in.{suffix}", ROWS) for suffix in suffixes]
    for name in ("in.csv", "in.jsonl"):
        compressed = gzip.compress((here / name).read_bytes())
        (here / f"{name}.gz").write_bytes(compressed)
    expected = TextClassifier.load(run_folder).predict([row["text"] for row in ROWS])
    for name in ("in.csv", "in.csv.gz", "in.jsonl.gz", *names):
        assert predict_with(run_folder, input=name) == len(ROWS)
        assert read_output() == expected


def test_a_text_file_has_one_text_per_line(run_folder: str, here: Path) -> None:
    (here / "in.txt").write_text("a\n\nb\n\n")
    assert predict_with(run_folder, input="in.txt") == 4


@pytest.mark.slow
@pytest.mark.parametrize("exists", [True, False])
def test_a_row_that_cannot_be_read_changes_no_output(
    run_folder: str, here: Path, exists: bool
) -> None:
    if exists:
        (here / "out.csv").write_text("mine")
    rows = "".join(f"{number},text {number}\n" for number in range(3_000))
    (here / "in.csv").write_text(f'id,text\n{rows}1,"open\n')
    before = sorted(path.name for path in here.iterdir())
    with pytest.raises(DataError, match=r"in\.csv, line 3002: unexpected end of data"):
        predict_with(run_folder, output="out.csv", batch_size=16)
    assert sorted(path.name for path in here.iterdir()) == before
    assert not exists or (here / "out.csv").read_text() == "mine"


def test_the_target_of_a_link_is_written(run_folder: str, here: Path) -> None:
    (here / "folder").mkdir()
    (here / "out.jsonl").symlink_to(here / "folder" / "real.jsonl")
    predict_with(run_folder)
    assert (here / "out.jsonl").is_symlink()
    assert len(read_output("folder/real.jsonl")) == len(ROWS)


def test_an_endless_stream_is_predicted_in_constant_memory(run_folder: str) -> None:
    endless = (
        Row(f"line {number}", "a", None, None, {"id": number})
        for number in itertools.count(1)
    )
    kept: deque[dict[str, Any]] = deque()
    pairs = texts([RowSource("stdin", endless)], kept)
    predictions = TextClassifier.load(run_folder).predict_stream(pairs, batch_size=2)
    for number in range(1, 100):
        next(predictions)
        assert kept.popleft() == {"id": number}
        assert len(kept) < 100


@pytest.mark.slow
def test_a_reader_that_stops_early_ends_the_command_without_an_error(
    run_folder: str, here: Path
) -> None:
    (here / "in.txt").write_text("the soup simmers\n" * 5_000)
    script = Path(__file__).parents[2] / "scripts" / "predict.py"
    options = [f"run={run_folder}", "input=in.txt", "batch_size=1"]
    with subprocess.Popen(
        [python(), str(script), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first_row = json.loads(process.stdout.readline())
        assert set(first_row) == {"label", "score", "scores"}
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(timeout=120) == 141
    assert "Error" not in errors
    assert "Traceback" not in errors
