"""Loads the splits of a run: rows from their source, one label map, checks, and the cuts that the config asks for.

Promises: the same config, data and seeds give the same splits; what is wrong with the data is a `DataError`, one line.
Does not tokenise (`tokenise.py`) and prints nothing: findings are in `TextData.report` and `TextData.warnings`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset

from ostinato.config import DataConfig, OnLeak, Source, Task
from ostinato.data.assets import fetch_data
from ostinato.data.checks import count_leaks, describe, shared_with, warnings_about
from ostinato.data.columns import Columns
from ostinato.data.cuts import cut_validation, subset
from ostinato.data.delimited import read_tab
from ostinato.data.files import RowSource, open_files
from ostinato.data.generated import generate
from ostinato.data.hub import open_hub
from ostinato.data.labels import LabelFormat, lookalikes
from ostinato.data.rows import TEXT_NORMALISATION, Rows, scan
from ostinato.data.texts import shown
from ostinato.errors import DataError
from ostinato.seeding import Seeds


@dataclass(frozen=True)
class Split:
    """Rows ready to tokenise.

    Attributes:
        name: train, val or test, or the path that was read.
        rows: columns "text", "text_pair" (pairs only) and "label" (int64 class number, list of float32, or float32).
        sha256: of the content, in order: texts, and label names, not numbers.
    """

    name: str
    rows: Dataset
    sha256: str


@dataclass(frozen=True)
class TextData:
    """The splits of a run.

    Attributes:
        task: what a label is.
        labels: names of the classes by number, natural-sorted; empty for regression.
        train: the training rows.
        val: the validation rows.
        test: the test rows; None when there are none.
        report: what was read, found and used; ready for JSON.
        warnings: one line for each finding.
    """

    task: Task
    labels: tuple[str, ...]
    train: Split
    val: Split
    test: Split | None
    report: dict[str, Any]
    warnings: tuple[str, ...]


def load_data(cfg: DataConfig, seeds: Seeds) -> TextData:
    """Loads, checks and cuts the splits.

    Order of the cuts: training rows that leak are dropped (`data.on_leak`), validation is cut from train if there is
    none, then `data.limit_*` takes its subsets. Classes are those of train as read.

    Raises:
        DataError: rows that cannot be used; names file, row and remedy.
        AssetError: an asset that could not be fetched.
    """
    read = _read(cfg)
    counts = {name: describe(rows) for name, rows in read.items()}
    leaks = count_leaks(read)
    used, notes = _cut(cfg, seeds, read, leaks)
    report = {
        "text_normalisation": TEXT_NORMALISATION,
        "read": counts,
        "leaks": leaks,
        "used": {
            name: {"rows": len(rows), "sha256": rows.sha256}
            for name, rows in used.items()
        },
        "notes": notes,
    }
    splits = {name: _split(rows) for name, rows in used.items()}
    return TextData(
        task=cfg.task,
        labels=read["train"].labels,
        train=splits["train"],
        val=splits["val"],
        test=splits.get("test"),
        report=report,
        warnings=(
            *warnings_about(counts, leaks),
            *_label_warnings(read["train"].labels),
        ),
    )


def load_split(cfg: DataConfig, path: str, labels: Sequence[str]) -> Split:
    """Loads one file or glob whose classes a model has fixed.

    Args:
        cfg: the columns and the task.
        path: file or glob.
        labels: names of the classes by number; empty for regression.

    Raises:
        DataError: rows that cannot be used, or a class that is not among `labels`.
    """
    sources = open_files(path, _columns(cfg), "path")
    return _split(
        scan(
            path, sources, _label_format(cfg), cfg.text_pair_column is not None, labels
        )
    )


def _split(rows: Rows) -> Split:
    return Split(rows.name, rows.table, rows.sha256)


def _read(cfg: DataConfig) -> dict[str, Rows]:
    """The splits that the source has, as they stand there."""
    read: dict[str, Rows] = {}
    for split in ("train", "val", "test"):
        sources = _sources(cfg, split)
        if sources is not None:
            labels = read["train"].labels if read else None
            read[split] = scan(
                split,
                sources,
                _label_format(cfg),
                cfg.text_pair_column is not None,
                labels,
            )
            if split == "train":
                _check_classes(read["train"], cfg)
    return read


def _cut(
    cfg: DataConfig, seeds: Seeds, read: dict[str, Rows], leaks: dict[str, int]
) -> tuple[dict[str, Rows], list[str]]:
    """The splits that are used, and a note for each thing that was done to get them."""
    notes = []
    train, val = _without_leaks(cfg, read, leaks), read.get("val")
    if len(train) < len(read["train"]):
        dropped = len(read["train"]) - len(train)
        notes.append(
            f"train: {dropped:,} rows that also stand in val or test were dropped (data.on_leak=drop)"
        )
    if val is None:
        train, val = cut_validation(
            train, cfg.task, cfg.val_fraction, seeds.derive("split")
        )
        notes.append(
            f"val: {len(val):,} rows cut from train (data.val_fraction={cfg.val_fraction})"
        )
    if "test" not in read:
        notes.append("no test split: no test metrics")
    used = {"train": train, "val": val} | (
        {"test": read["test"]} if "test" in read else {}
    )
    for counter, (name, rows) in enumerate(used.items()):
        used[name] = subset(
            rows, getattr(cfg, f"limit_{name}"), seeds.derive("subsample", counter)
        )
        if len(used[name]) < len(rows):
            notes.append(
                f"{name}: {len(used[name]):,} of {len(rows):,} rows (data.limit_{name})"
            )
    return used, notes


def _sources(cfg: DataConfig, split: str) -> list[RowSource] | None:
    columns = _columns(cfg)
    if cfg.source is Source.generated:
        return [generate(split, cfg.task, cfg.text_pair_column is not None)]
    if cfg.source is Source.files:
        path = getattr(cfg, f"{split}_path")
        return open_files(path, columns, f"data.{split}_path") if path else None
    if cfg.source is Source.hub:
        hub_split = getattr(cfg, f"{split}_split")
        return [open_hub(cfg, hub_split, columns)] if hub_split else None
    file = fetch_data(str(cfg.name)).get(split)
    return (
        [
            RowSource(
                f"{cfg.name}[{split}]",
                read_tab(file, Columns("Text", None, "Category")),
            )
        ]
        if file
        else None
    )


def _columns(cfg: DataConfig) -> Columns:
    return Columns(cfg.text_column, cfg.text_pair_column, cfg.label_column)


def _label_format(cfg: DataConfig) -> LabelFormat:
    return LabelFormat(cfg.task, cfg.label_separator)


def _label_warnings(labels: Sequence[str]) -> list[str]:
    return [
        f"the labels {' and '.join(map(shown, group))} look alike and are different classes; is one of them misspelt?"
        for group in lookalikes(labels)
    ]


def _check_classes(train: Rows, cfg: DataConfig) -> None:
    if cfg.task is Task.single_label and len(train.labels) < 2:
        raise DataError(
            f"train has one class only ({shown(train.labels[0])}), so there is nothing to learn; "
            f"is data.label_column={cfg.label_column} right?"
        )
    if cfg.task is Task.multi_label and not train.labels:
        raise DataError(
            f"train has no label at all; is data.label_column={cfg.label_column} right?"
        )


def _without_leaks(
    cfg: DataConfig, read: dict[str, Rows], leaks: dict[str, int]
) -> Rows:
    train = read["train"]
    found = [
        f"{count:,} {pair.split('/')[1]} rows"
        for pair, count in leaks.items()
        if count and pair.startswith("train/")
    ]
    if not found or cfg.on_leak is OnLeak.warn:
        return train
    if cfg.on_leak is OnLeak.error:
        raise DataError(
            f"{' and '.join(found)} also stand in train (data.on_leak=error); take them out, or set data.on_leak=drop"
        )
    leaking = np.logical_or.reduce(
        [shared_with(train, rows) for name, rows in read.items() if name != "train"]
    )
    if leaking.all():
        raise DataError(
            "all train rows also stand in val or test (data.on_leak=drop leaves none); give other files"
        )
    return train.select("train", np.flatnonzero(~leaking))
