"""Which rows go where: the validation split cut from train, and random subsets. Pure functions of their arguments."""

import numpy as np
from numpy.typing import NDArray

from ostinato.config import Task
from ostinato.data.rows import Rows
from ostinato.errors import DataError


def cut_validation(
    rows: Rows, task: Task, fraction: float, seed: int
) -> tuple[Rows, Rows]:
    """Parts rows into train and val, stratified by label (by label combination where that is frequent enough).

    Rows with the same text stay on one side, so that the cut makes no leak; a class never loses its last text to val.

    Args:
        rows: what to part.
        task: regression is not stratified.
        fraction: share of the texts that goes to val.
        seed: chooses the rows.

    Raises:
        DataError: too few rows to part.
    """
    _, first, text_of_row = np.unique(
        rows.text_keys, return_index=True, return_inverse=True
    )
    strata = _strata(rows, task, fraction)[first]
    sizes = np.bincount(strata)
    quotas = _quotas(sizes, fraction)
    shuffled = _generator(seed).permutation(len(first))
    by_stratum = shuffled[np.argsort(strata[shuffled], kind="stable")]
    starts = np.cumsum(sizes) - sizes
    rank = np.empty_like(shuffled)
    rank[by_stratum] = np.arange(len(first)) - starts[strata[by_stratum]]
    in_val = (rank < quotas[strata])[text_of_row]
    if not in_val.any():
        raise DataError(
            f"no validation split can be cut from {len(rows)} rows: a label keeps at least one text in train; "
            "give one with data.val_path or data.val_split, or add rows"
        )
    return rows.select("train", np.flatnonzero(~in_val)), rows.select(
        "val", np.flatnonzero(in_val)
    )


def subset(rows: Rows, limit: int | None, seed: int) -> Rows:
    """A random subset of `limit` rows in their old order; all rows when there are no more than that."""
    if limit is None or limit >= len(rows):
        return rows
    return rows.select(
        rows.name, np.sort(_generator(seed).permutation(len(rows))[:limit])
    )


def _strata(rows: Rows, task: Task, fraction: float) -> NDArray[np.int64]:
    """Stratum of each row, numbered from 0."""
    if task is Task.regression:
        return np.zeros(len(rows), np.int64)
    strata = rows.label_keys
    if (
        task is Task.multi_label
    ):  # combinations too rare for a row in val are pooled by their most frequent label
        counts = np.bincount(strata)
        rare = counts[strata] * fraction < 1
        strata = np.where(
            rare,
            len(counts) + (rows.targets * rows.targets.sum(axis=0)).argmax(axis=1),
            strata,
        )
    numbers: NDArray[np.int64] = np.unique(strata, return_inverse=True)[1]
    return numbers


def _quotas(sizes: NDArray[np.int64], fraction: float) -> NDArray[np.int64]:
    """Shares the whole quota among the strata by largest remainder; each keeps at least one."""
    wanted = sizes * fraction
    quotas = wanted.astype(np.int64)
    missing = max(1, round(sizes.sum() * fraction)) - quotas.sum()
    by_remainder = np.argsort(quotas - wanted, kind="stable")
    able = by_remainder[quotas[by_remainder] < sizes[by_remainder] - 1]
    quotas[able[:missing]] += 1
    return quotas


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(
        np.random.PCG64(seed)
    )  # named, because NumPy's default may change
