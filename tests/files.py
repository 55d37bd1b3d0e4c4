"""Writes data files for tests in every format, and loads them."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ostinato.config import DataConfig, SeedsConfig
from ostinato.data.splits import TextData, load_data
from ostinato.seeding import Seeds

SEEDS = Seeds(42, SeedsConfig())


def write_csv(file: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def write_tsv(file: Path, rows: list[dict[str, Any]]) -> None:
    write_csv(file, rows, "\t")


def write_json(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text(json.dumps(rows), encoding="utf-8")


def write_json_lines(file: Path, rows: list[dict[str, Any]]) -> None:
    lines = [json.dumps(row) + "\n" for row in rows]
    file.write_text("".join(lines), encoding="utf-8")


def write_parquet(file: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), file)


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], None]] = {
    "csv": write_csv,
    "tsv": write_tsv,
    "json": write_json,
    "jsonl": write_json_lines,
    "parquet": write_parquet,
}


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> str:
    file = folder / name
    WRITERS[file.suffix[1:]](file, rows)
    return str(file)


def as_rows(pairs: list[tuple[str, Any]]) -> list[dict[str, Any]]:
    return [{"text": text, "label": label} for text, label in pairs]


def load(seeds: Seeds = SEEDS, **config: Any) -> TextData:
    return load_data(DataConfig(**{"source": "files", **config}), seeds)


def names(data: TextData, split: str) -> list[str]:
    return [data.labels[number] for number in getattr(data, split).targets]


def pairs_of(data: TextData, split: str) -> list[tuple[str, str]]:
    """Text and label of each row."""
    return list(zip(getattr(data, split).rows["text"], names(data, split), strict=True))
