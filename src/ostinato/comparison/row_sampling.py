"""The other source of chance: which rows happen to be in the split that is scored. From the stored predictions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ostinato.comparison.runs import Run
from ostinato.comparison.statistics import Interval, bootstrap_rows, mcnemar
from ostinato.errors import ConfigError
from ostinato.scoring.predictions import load_predictions


@dataclass(frozen=True)
class RowSampling:
    """What other rows of the same kind would have moved, with the trained models as they are.

    Attributes:
        split: val or test.
        num_rows: its rows.
        mean: share of rows answered right, or the difference of two such shares, over all runs.
        interval: 95 % bootstrap interval over the rows, paired where two are compared.
        mcnemar_p: p-value of McNemar's exact test; only for one run against one run.
    """

    split: str
    num_rows: int
    mean: float
    interval: Interval
    mcnemar_p: float | None = None


def sample_rows(split: str, runs: Sequence[Run]) -> RowSampling | None:
    """Row sampling of the accuracy of some runs; None where predictions are missing or the rows not the same."""
    answers = _correct(split, runs)
    if answers is None:
        return None
    shares = answers.mean(axis=0)
    return RowSampling(split, len(shares), float(shares.mean()), bootstrap_rows(shares))


def sample_row_differences(
    split: str, pairs: Sequence[tuple[Run, Run]]
) -> RowSampling | None:
    """Row sampling of the difference between two configurations, over the runs of the same seeds.

    None where predictions are missing or the rows of the runs are not the same ones.
    """
    answers = _correct(split, [run for pair in pairs for run in pair])
    if answers is None:
        return None
    first, second = answers[0::2], answers[1::2]
    gains = (first.astype(np.float64) - second).mean(axis=0)
    p = mcnemar(first[0], second[0]) if len(pairs) == 1 else None
    return RowSampling(split, len(gains), float(gains.mean()), bootstrap_rows(gains), p)


def rows_differ(split: str, runs: Sequence[Run]) -> bool:
    """Whether the runs were scored on different rows."""
    return (
        len(
            {
                digest
                for run in runs
                if (digest := run.provenance.get("data", {}).get(split))
            }
        )
        > 1
    )


def _correct(split: str, runs: Sequence[Run]) -> NDArray[np.bool_] | None:
    """Which rows each run answers right, [num_runs, num_rows]; multi-label: with exactly the right labels."""
    if not runs or rows_differ(split, runs):
        return None
    answers = []
    for run in runs:
        try:
            logits, labels = load_predictions(run.folder.predictions(split))
        except ConfigError:
            return None
        if np.issubdtype(labels.dtype, np.integer) and labels.ndim == 1:
            answers.append(logits.argmax(axis=1) == labels)
        elif labels.ndim == 2:
            answers.append(((logits > 0) == (labels > 0.5)).all(axis=1))
        else:
            return None  # regression: no row is right or wrong
    return np.stack(answers)
