"""Prediction refuses an output that is the input, or that cannot be written."""

import sys
from pathlib import Path
from typing import Any

import pytest
from files import write
from prediction import ROWS, predict_with, read_output

from ostinato.config import PredictConfig
from ostinato.errors import ConfigError


@pytest.mark.parametrize(
    "link", ["same name", "symlink_to", "hardlink_to", "glob", "another path"]
)
def test_an_output_that_is_the_input_is_refused(
    run_folder: str, here: Path, link: str
) -> None:
    before = (here / "in.csv").read_bytes()
    output = "in.csv"
    if link == "another path":
        output = f"../{here.name}/./in.csv"
    elif link.endswith("_to"):
        output = "link.csv"
        getattr(here / output, link)(here / "in.csv")
    with pytest.raises(ConfigError, match=r"output=.*: is the same file as input="):
        predict_with(
            run_folder, input="*.csv" if link == "glob" else "in.csv", output=output
        )
    assert (here / "in.csv").read_bytes() == before


@pytest.mark.parametrize("redirected", ["stdin", "stdout"])
def test_a_redirected_stream_that_is_the_other_side_is_refused(
    run_folder: str, here: Path, monkeypatch: pytest.MonkeyPatch, redirected: str
) -> None:
    write(here, "in.jsonl", ROWS)
    file = here / "in.jsonl"
    if redirected == "stdin":
        stream, config = file.open(), {"input": "-", "output": "in.jsonl"}
    else:
        stream, config = file.open("a"), {"input": "in.jsonl", "output": "-"}
    with stream, monkeypatch.context() as patch:
        patch.setattr(sys, redirected, stream)
        with pytest.raises(ConfigError, match="is the same file as input="):
            predict_with(run_folder, **config)
    assert read_output("in.jsonl") == ROWS


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("none/out.csv", "output=none/out.csv: no such folder"),
        ("folder.csv", "output=folder.csv: is not a file"),
        ("x" * 300 + ".csv", r"is not a valid path \(File name too long\)"),
        ("a\0b.csv", "is not a valid path"),
        ("~nosuchuser/x.csv", "is not a valid path"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused(
    run_folder: str, here: Path, output: str, message: str
) -> None:
    (here / "folder.csv").mkdir()
    with pytest.raises(ConfigError, match=message):
        predict_with(run_folder, output=output)


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
    message = r"output=.*must be a|keep=.*must be a list|csv_safe=true: .*is not csv"
    with pytest.raises(ValueError, match=message):
        PredictConfig(run="x", **config)
