"""Uncertainty from the rows of a split: how much a metric varies with other rows.

It is estimated from the stored predictions, with the trained models as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ostinato.comparison.runs import Run
from ostinato.comparison.significance import mcnemar
from ostinato.comparison.statistics import Interval, bootstrap_rows
from ostinato.errors import ConfigError
from ostinato.scoring.arrays import Booleans
from ostinato.scoring.predictions import load_predictions


@dataclass(frozen=True)
class RowSampling:
    """An accuracy, or a difference of two, and its uncertainty from the rows.

    Attributes:
        split: val or test.
        num_rows: number of rows of the split.
        mean: share of correct rows over all runs, or the difference of two shares.
        interval: 95 % bootstrap interval over the rows; paired for a difference.
        mcnemar_p: p-value of McNemar's exact test; only for one run against one run.
    """

    split: str
    num_rows: int
    mean: float
    interval: Interval
    mcnemar_p: float | None = None


def sample_rows(split: str, runs: Sequence[Run]) -> RowSampling | None:
    """Estimates the accuracy of some runs, and its uncertainty from the rows.

    Returns:
        None if predictions are missing, or the runs have different rows.
    """
    correct = _correct_rows(split, runs)
    if correct is None:
        return None
    shares = correct.mean(axis=0)
    return RowSampling(
        split=split,
        num_rows=len(shares),
        mean=float(shares.mean()),
        interval=bootstrap_rows(shares),
    )


def sample_row_differences(
    split: str, pairs: Sequence[tuple[Run, Run]]
) -> RowSampling | None:
    """Estimates the difference in accuracy, and its uncertainty from the rows.

    Args:
        split: val or test.
        pairs: runs of two configurations with the same seeds.

    Returns:
        First minus second. None if predictions are missing, or the runs have different
        rows.
    """
    runs = [run for pair in pairs for run in pair]
    correct = _correct_rows(split, runs)
    if correct is None:
        return None
    first = correct[0::2]
    second = correct[1::2]
    differences = first.astype(np.float64) - second
    gains = differences.mean(axis=0)
    p = None
    if len(pairs) == 1:
        p = mcnemar(first[0], second[0])
    return RowSampling(
        split=split,
        num_rows=len(gains),
        mean=float(gains.mean()),
        interval=bootstrap_rows(gains),
        mcnemar_p=p,
    )


def rows_differ(split: str, runs: Sequence[Run]) -> bool:
    """Returns whether the runs were scored on different rows."""
    digests = set()
    for run in runs:
        digest = run.provenance.get("data", {}).get(split)
        if digest:
            digests.add(digest)
    return len(digests) > 1


def _correct_rows(split: str, runs: Sequence[Run]) -> Booleans | None:
    """Returns whether each run is correct on each row, [num_runs, num_rows].

    Multi-label: whether the predicted set of labels is exactly the true one.
    """
    if not runs or rows_differ(split, runs):
        return None
    correct = []
    for run in runs:
        try:
            logits, labels = load_predictions(run.folder.predictions(split))
        except ConfigError:
            return None
        has_class_ids = np.issubdtype(labels.dtype, np.integer)
        if labels.ndim == 1 and has_class_ids:
            predicted = logits.argmax(axis=1)
            correct.append(predicted == labels)
        elif labels.ndim == 2:
            matches = (logits > 0) == (labels > 0.5)
            correct.append(matches.all(axis=1))
        else:
            # The rows of a regression are neither correct nor wrong.
            return None
    return np.stack(correct)
