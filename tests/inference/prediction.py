"""Helpers of the prediction tests: input rows, the command, and its output."""

import csv
import json
from pathlib import Path
from typing import Any

from ostinato.config import PredictConfig
from ostinato.inference.stream import predict

ROWS = [
    {"id": "7", "text": "the soup simmers", "note": "=1+1"},
    {"id": "8", "text": "", "note": "-"},
    {"id": "9", "text": "a striker\nscores, twice", "note": "plain"},
]


def predict_with(run_folder: str, **config: Any) -> int:
    """Predicts in.csv to out.jsonl, or as `config` says; returns the number of rows."""
    options = {"input": "in.csv", "output": "out.jsonl", **config}
    return predict(PredictConfig(run=run_folder, **options), "text", None)


def read_output(name: str = "out.jsonl") -> list[dict[str, Any]]:
    """Rows of a csv or jsonl file."""
    if name.endswith(".csv"):
        with Path(name).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    lines = Path(name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
