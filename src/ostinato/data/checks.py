"""What is worth knowing about rows before training: repeated, contradicting, empty texts, those that splits share.

Only counts; whoever calls decides. Texts are compared by `Rows.text_keys`; rows without text count as empty only.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.data.rows import Rows


def describe(rows: Rows) -> dict[str, Any]:
    """Counts of one split, ready for JSON.

    Returns:
        rows, label_counts (label_range for regression), duplicates (rows whose text stood in an earlier row),
        conflicting_duplicates (texts that stand there with different labels), empty_texts, sha256.
    """
    keys, labels = rows.text_keys[~rows.empty], rows.label_keys[~rows.empty]
    distinct = np.unique(keys)
    label_numbers = np.unique(labels, return_inverse=True)[1].astype(np.uint64)
    pairs = np.unique(np.stack([keys, label_numbers], axis=1), axis=0)
    labels_per_text = np.unique(pairs[:, 0], return_counts=True)[1]
    return {
        "rows": len(rows),
        **_label_summary(rows),
        "duplicates": len(keys) - len(distinct),
        "conflicting_duplicates": int((labels_per_text > 1).sum()),
        "empty_texts": int(rows.empty.sum()),
        "sha256": rows.sha256,
    }


def _label_summary(rows: Rows) -> dict[str, Any]:
    if not rows.labels:
        return {"label_range": [float(rows.targets.min()), float(rows.targets.max())]}
    counts = (
        rows.targets.sum(axis=0)
        if rows.targets.ndim == 2
        else np.bincount(rows.targets, minlength=len(rows.labels))
    )
    return {
        "label_counts": {
            label: int(count) for label, count in zip(rows.labels, counts, strict=True)
        }
    }


def shared_with(rows: Rows, other: Rows) -> NDArray[np.bool_]:
    """Marks the rows whose text also stands in `other` [n]."""
    return np.isin(rows.text_keys, other.text_keys[~other.empty])


def count_leaks(splits: Mapping[str, Rows]) -> dict[str, int]:
    """Rows of the second split whose text also stands in the first, by pair: {"train/test": 4}."""
    return {
        f"{a}/{b}": int(shared_with(splits[b], splits[a]).sum())
        for a, b in combinations(splits, 2)
    }


def warnings_about(
    read: Mapping[str, dict[str, Any]], leaks: Mapping[str, int]
) -> list[str]:
    """One line for each finding that a user should know of."""
    lines = []
    for name, counts in read.items():
        if counts["empty_texts"]:
            lines.append(
                f"{name}: {counts['empty_texts']:,} of {counts['rows']:,} rows have no text"
            )
        if counts["duplicates"]:
            conflicts = counts["conflicting_duplicates"]
            contradicting = (
                f"; {conflicts:,} texts carry different labels" if conflicts else ""
            )
            lines.append(
                f"{name}: {counts['duplicates']:,} of {counts['rows']:,} rows repeat an earlier text{contradicting}"
            )
    for pair, count in leaks.items():
        first, second = pair.split("/")
        if count:
            lines.append(
                f"{count:,} of {read[second]['rows']:,} {second} rows also stand in {first}"
            )
    return lines
