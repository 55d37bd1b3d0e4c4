"""Counts problems in rows before training: repeated, empty and leaked texts.

Texts are compared by `Rows.text_keys`. Rows without text count as empty only. The
caller decides what to do with the counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.data.labels import lookalikes
from ostinato.data.rows import Rows
from ostinato.data.texts import shown


def describe(rows: Rows) -> dict[str, Any]:
    """Counts the findings of one split, ready for JSON.

    Returns:
        rows: number of rows.
        label_counts: rows of each class; for regression, label_range is in its place.
        duplicates: rows whose text occurs in an earlier row.
        conflicting_duplicates: texts that occur with different labels.
        empty_texts: rows without text.
        sha256: digest of the content.
    """
    keys = rows.text_keys[~rows.empty]
    labels = rows.label_keys[~rows.empty]
    num_texts = len(np.unique(keys))
    return {
        "rows": len(rows),
        **_label_summary(rows),
        "duplicates": len(keys) - num_texts,
        "conflicting_duplicates": _count_conflicts(keys, labels),
        "empty_texts": int(rows.empty.sum()),
        "sha256": rows.sha256,
    }


def _count_conflicts(keys: NDArray[np.uint64], labels: NDArray[Any]) -> int:
    """Texts that occur with more than one label."""
    _, label_numbers = np.unique(labels, return_inverse=True)
    label_keys = label_numbers.astype(np.uint64)
    pairs = np.stack([keys, label_keys], axis=1)
    distinct_pairs = np.unique(pairs, axis=0)
    text_of_pair = distinct_pairs[:, 0]
    _, labels_per_text = np.unique(text_of_pair, return_counts=True)
    has_conflict = labels_per_text > 1
    return int(has_conflict.sum())


def _label_summary(rows: Rows) -> dict[str, Any]:
    if not rows.labels:
        lowest = float(rows.targets.min())
        highest = float(rows.targets.max())
        return {"label_range": [lowest, highest]}
    counts = _rows_per_class(rows).tolist()
    label_counts = {}
    for label, count in zip(rows.labels, counts, strict=True):
        label_counts[label] = int(count)
    return {"label_counts": label_counts}


def _rows_per_class(rows: Rows) -> NDArray[Any]:
    """Number of rows of each class, [num_labels]."""
    if rows.targets.ndim == 2:
        counts: NDArray[Any] = rows.targets.sum(axis=0)
        return counts
    return np.bincount(rows.targets, minlength=len(rows.labels))


def shared_with(rows: Rows, other: Rows) -> NDArray[np.bool_]:
    """Marks the rows whose text also occurs in `other`, [num_rows]."""
    keys_of_other = other.text_keys[~other.empty]
    return np.isin(rows.text_keys, keys_of_other)


@dataclass(frozen=True)
class Leak:
    """Rows of one split whose text also occurs in an earlier split.

    Attributes:
        first: the earlier split.
        second: the split of the rows.
        num_rows: how many; can be 0.
    """

    first: str
    second: str
    num_rows: int

    def describe(self, num_rows: int) -> str:
        """The leak as a line of text; `num_rows` are all rows of the second split."""
        share = f"{self.num_rows:,} of {num_rows:,}"
        return f"{share} {self.second} rows also occur in {self.first}"


def count_leaks(splits: Mapping[str, Rows]) -> list[Leak]:
    """Counts the shared rows of each pair of splits."""
    leaks = []
    for first, second in combinations(splits, 2):
        shared = shared_with(splits[second], splits[first])
        leaks.append(Leak(first, second, int(shared.sum())))
    return leaks


def leaks_record(leaks: Sequence[Leak]) -> dict[str, int]:
    """Leaks as `results.json` holds them, for example {"train/test": 4}."""
    return {f"{leak.first}/{leak.second}": leak.num_rows for leak in leaks}


def read_leaks(record: Mapping[str, int]) -> list[Leak]:
    """The leaks of a record; see `leaks_record`."""
    leaks = []
    for pair, num_rows in record.items():
        first, second = pair.split("/")
        leaks.append(Leak(first, second, num_rows))
    return leaks


def warnings_about(
    read: Mapping[str, dict[str, Any]],
    leaks: Sequence[Leak],
    labels: Sequence[str],
) -> list[str]:
    """Describes the findings that a user should know, one line each.

    Args:
        read: the counts of `describe` by split.
        leaks: see `count_leaks`.
        labels: names of the classes.
    """
    lines = []
    for name, counts in read.items():
        num_rows = counts["rows"]
        empty_texts = counts["empty_texts"]
        if empty_texts:
            lines.append(f"{name}: {empty_texts:,} of {num_rows:,} rows have no text")
        if counts["duplicates"]:
            lines.append(_duplicates_line(name, counts))
    found = [leak for leak in leaks if leak.num_rows]
    lines += [leak.describe(read[leak.second]["rows"]) for leak in found]
    for group in lookalikes(labels):
        names = " and ".join(shown(label) for label in group)
        lines.append(
            f"the labels {names} look alike but are different classes; "
            "check their spelling"
        )
    return lines


def _duplicates_line(name: str, counts: dict[str, Any]) -> str:
    duplicates = counts["duplicates"]
    num_rows = counts["rows"]
    conflicts = counts["conflicting_duplicates"]
    line = f"{name}: {duplicates:,} of {num_rows:,} rows repeat an earlier text"
    if conflicts:
        line += f"; {conflicts:,} texts have different labels"
    return line
