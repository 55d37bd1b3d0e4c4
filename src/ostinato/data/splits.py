"""Loads the splits of a run: reads rows, checks them, and cuts validation and subsets.

The same config, data and seeds give the same splits. Problems in the data are a
`DataError` of one line. Findings are in `TextData.report` and `TextData.warnings`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from ostinato.config import DataConfig, Task
from ostinato.data.checks import (
    Leak,
    count_leaks,
    describe,
    leaks_record,
    warnings_about,
)
from ostinato.data.classes import check_classes, classes_in
from ostinato.data.cuts import (
    cut_validation,
    subset,
    without_leaks,
    without_zero_weights,
)
from ostinato.data.files import open_files
from ostinato.data.rows import TEXT_NORMALISATION, Rows
from ostinato.data.scanning import scan
from ostinato.data.sources import columns_of, has_pair, label_format_of, open_split
from ostinato.data.texts import shown
from ostinato.seeding import Seeds


@dataclass(frozen=True)
class Split:
    """Rows ready for tokenisation.

    Attributes:
        name: train, val or test, or the path that was read.
        rows: columns "text" and "text_pair" (pairs only).
        targets: the label of each row: int64 [num_rows], float32 [num_rows, num_labels]
            (multi-label), or float32 [num_rows] (regression).
        sha256: digest of the content, in order: texts, label names (not numbers) or
            their probabilities, and weights.
        weights: the weight of each row in the loss, float32 [num_rows]; None: 1.
        distributions: the probability of each class, float32 [num_rows, num_labels];
            None if a row has one label.
    """

    name: str
    rows: Dataset
    targets: NDArray[Any]
    sha256: str
    weights: NDArray[np.float32] | None = None
    distributions: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class TextData:
    """The splits of a run.

    Attributes:
        task: what a label is.
        labels: names of the classes by number, in natural order; empty for regression.
        train: the training rows.
        val: the validation rows.
        test: the test rows; None if there are none.
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

    The cuts come in this order. First, training rows that leak are dropped if
    `data.on_leak=drop`, and those of weight 0. Then validation is cut from train if the
    source has none. Then `data.limit_*` takes subsets. The classes are those of train
    as read.

    Raises:
        DataError: invalid rows; names file, row and remedy.
        AssetError: an asset that could not be fetched.
    """
    read = _read(cfg)
    labels = read["train"].labels
    counts = {name: describe(rows) for name, rows in read.items()}
    leaks = count_leaks(read)
    used, notes = _cut(cfg, seeds, read, leaks)
    test = used.get("test")
    return TextData(
        task=cfg.task,
        labels=labels,
        train=_split(used["train"]),
        val=_split(used["val"]),
        test=None if test is None else _split(test),
        report={
            "text_normalisation": TEXT_NORMALISATION,
            "read": counts,
            "leaks": leaks_record(leaks),
            "used": {name: _size_and_digest(rows) for name, rows in used.items()},
            "notes": notes,
        },
        warnings=tuple(warnings_about(counts, leaks, labels)),
    )


def load_split(
    cfg: DataConfig,
    path: str,
    labels: Sequence[str],
) -> Split:
    """Loads a file or glob for a model with fixed classes.

    Args:
        cfg: the columns and the task.
        path: file or glob.
        labels: names of the classes by number; empty for regression.

    Raises:
        DataError: invalid rows, or a class that is not in `labels`.
    """
    sources = open_files(path, columns_of(cfg), "path")
    rows = scan(
        path,
        sources,
        label_format_of(cfg),
        has_pair(cfg),
        labels,
    )
    return _split(rows)


def _split(rows: Rows) -> Split:
    return Split(
        name=rows.name,
        rows=rows.table,
        targets=rows.targets,
        sha256=rows.sha256,
        weights=rows.weights,
        distributions=rows.distributions,
    )


def _size_and_digest(rows: Rows) -> dict[str, Any]:
    return {"rows": len(rows), "sha256": rows.sha256}


def _read(cfg: DataConfig) -> dict[str, Rows]:
    """Reads the splits of the source, unchanged."""
    read: dict[str, Rows] = {}
    label_format = label_format_of(cfg)
    labels: tuple[str, ...] | None = None
    for split in ("train", "val", "test"):
        sources = open_split(cfg, split)
        if sources is None:
            continue
        rows = scan(
            split,
            sources,
            label_format,
            has_pair(cfg),
            labels,
            with_weights=split == "train" and cfg.weight_column is not None,
        )
        if split == "train":
            check_classes(rows.labels, cfg)
        if labels is None:
            labels = rows.labels
        read[split] = rows
    return read


def _lost_classes(train: Rows, cfg: DataConfig) -> list[str]:
    """Names the classes that only rows of weight 0 have, in a note."""
    left = classes_in(train, cfg.task)
    check_classes(left, cfg, "train without the rows of weight 0")
    lost = [shown(name) for name in train.labels if name not in left]
    return [f"train: only rows of weight 0 have {', '.join(lost)}"] if lost else []


def _cut(
    cfg: DataConfig,
    seeds: Seeds,
    read: dict[str, Rows],
    leaks: Sequence[Leak],
) -> tuple[dict[str, Rows], list[str]]:
    """Makes the splits to use from those that were read.

    Returns:
        The splits, and a note for each step.
    """
    notes = []
    train = without_leaks(cfg, read, leaks)
    dropped = len(read["train"]) - len(train)
    if dropped:
        notes.append(
            f"train: {dropped:,} rows that also occur in val or test were dropped "
            "(data.on_leak=drop)"
        )
    num_before = len(train)
    train = without_zero_weights(train)
    if len(train) < num_before:
        notes.append(
            f"train: {num_before - len(train):,} rows of weight 0 were left out "
            f"(data.weight_column={cfg.weight_column})"
        )
        notes += _lost_classes(train, cfg)
    val = read.get("val")
    if val is None:
        seed = seeds.derive("split")
        train, val = cut_validation(train, cfg.task, cfg.val_fraction, seed)
        notes.append(
            f"val: {len(val):,} rows cut from train "
            f"(data.val_fraction={cfg.val_fraction})"
        )
    used = {"train": train, "val": val}
    if "test" in read:
        used["test"] = read["test"]
    else:
        notes.append("no test split: no test metrics")
    for counter, (name, rows) in enumerate(list(used.items())):
        limit = getattr(cfg, f"limit_{name}")
        seed = seeds.derive("subsample", counter)
        used[name] = subset(rows, limit, seed)
        num_used = len(used[name])
        if num_used < len(rows):
            notes.append(
                f"{name}: {num_used:,} of {len(rows):,} rows (data.limit_{name})"
            )
    return used, notes
