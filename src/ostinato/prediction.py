"""Streams rows of a file or stdin through a classifier to a file or stdout, in flat memory."""

import contextlib
import csv
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from ostinato.classifier import Classifier, TextClassifier
from ostinato.config import Backend, PredictConfig
from ostinato.errors import ConfigError, DataError


def predict(cfg: PredictConfig, text_column: str, text_pair_column: str | None) -> int:
    """Writes one prediction per input row and returns their number.

    Raises:
        ConfigError: a suffix that is not supported.
        DataError: a row without text; what was written before stays.
    """
    classifier = _load(cfg)
    with contextlib.ExitStack() as stack:
        rows = _read(cfg.input, text_column, text_pair_column, stack)
        write = _writer(cfg.output, stack)
        count = 0
        for prediction in classifier.predict_stream(rows, cfg.batch_size):
            write(prediction)
            count += 1
    return count


def _load(cfg: PredictConfig) -> Classifier:
    if cfg.backend is Backend.torch:
        return TextClassifier.load(cfg.run, cfg.device, cfg.calibrated)
    from ostinato.onnx_classifier import OnnxClassifier  # an extra

    return OnnxClassifier.load(cfg.run, cfg.calibrated, int8=cfg.backend is Backend.onnx_int8)


def _read(path: str, text: str, pair: str | None, stack: contextlib.ExitStack) -> Iterator[tuple[str, str | None]]:
    suffix = Path(path).suffix.lower()
    if path == "-":
        return _lines(sys.stdin, text, pair)
    if suffix not in (".csv", ".tsv", ".jsonl", ".txt"):
        raise ConfigError([f"input={path}: cannot be streamed; give a .csv, .tsv, .jsonl or .txt file, or - for stdin"])
    if not Path(path).is_file():
        raise ConfigError([f"input={path}: no such file"])
    file = stack.enter_context(Path(path).open(encoding="utf-8", newline="" if suffix in (".csv", ".tsv") else None))
    if suffix in (".csv", ".tsv"):
        reader = csv.DictReader(file, delimiter="\t" if suffix == ".tsv" else ",")
        for column in filter(None, (text, pair)):
            if column not in (reader.fieldnames or []):
                raise DataError(f"{path}: no column {column!r} among {reader.fieldnames}; set text_column")
        return ((row[text] or "", row[pair] if pair else None) for row in reader)
    return _lines(file, text, pair, as_json=suffix == ".jsonl")


def _lines(file: TextIO, text: str, pair: str | None, as_json: bool | None = None) -> Iterator[tuple[str, str | None]]:
    """JSON lines or plain texts; on stdin the first line tells which."""
    for number, line in enumerate(file, start=1):
        if as_json is None:
            as_json = line.lstrip().startswith("{")
        if not as_json:
            yield line.rstrip("\n"), None
            continue
        try:
            row = json.loads(line)
            yield row[text], row[pair] if pair else None
        except (ValueError, KeyError, TypeError):
            raise DataError(
                f"line {number}: not a JSON object with {text!r}; set text_column, or give plain lines"
            ) from None


def _writer(path: str, stack: contextlib.ExitStack) -> Any:
    suffix = Path(path).suffix.lower()
    if path != "-" and suffix not in (".csv", ".jsonl"):
        raise ConfigError([f"output={path}: give a .csv or .jsonl file, or - for stdout"])
    file = sys.stdout if path == "-" else stack.enter_context(Path(path).open("w", encoding="utf-8", newline=""))
    if suffix != ".csv":
        return lambda prediction: print(json.dumps(prediction, ensure_ascii=False), file=file)
    table = csv.writer(file)
    first = itertools.count()

    def write(prediction: dict[str, Any]) -> None:
        row = _flat(prediction)
        if next(first) == 0:
            table.writerow(row)
        table.writerow(row.values())

    return write


def _flat(prediction: dict[str, Any]) -> dict[str, Any]:
    row = {key: value for key, value in prediction.items() if key != "scores"}
    if "labels" in row:
        row["labels"] = "|".join(row["labels"])
    return row | {f"score_{name}": value for name, value in prediction.get("scores", {}).items()}
