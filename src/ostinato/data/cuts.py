"""Drops rows, cuts a validation split from train, and takes random subsets."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ostinato.config import DataConfig, OnLeak, Task
from ostinato.data.checks import Leak, shared_with
from ostinato.data.rows import Rows
from ostinato.errors import DataError

IntArray = NDArray[np.int64]


def without_leaks(
    cfg: DataConfig,
    read: dict[str, Rows],
    leaks: Sequence[Leak],
) -> Rows:
    """Applies `data.on_leak` to the training rows.

    Args:
        cfg: the config.
        read: the splits as read.
        leaks: see `checks.count_leaks`.

    Raises:
        DataError: `data.on_leak=error`, or all training rows leak.
    """
    train = read["train"]
    of_train = [leak for leak in leaks if leak.first == "train" and leak.num_rows]
    found = [f"{leak.num_rows:,} {leak.second} rows" for leak in of_train]
    if not found or cfg.on_leak is OnLeak.warn:
        return train
    if cfg.on_leak is OnLeak.error:
        leaking_rows = " and ".join(found)
        raise DataError(
            f"{leaking_rows} also occur in train (data.on_leak=error); "
            "remove them, or set data.on_leak=drop"
        )
    leaking = np.zeros(len(train), np.bool_)
    for name, rows in read.items():
        if name != "train":
            leaking |= shared_with(train, rows)
    if leaking.all():
        raise DataError(
            "all train rows also occur in val or test, "
            "so data.on_leak=drop would remove all of them; use other files"
        )
    return train.select("train", np.flatnonzero(~leaking))


def without_zero_weights(train: Rows) -> Rows:
    """Leaves out the rows of weight 0, which is what such a weight means.

    Raises:
        DataError: all rows have the weight 0.
    """
    if train.weights is None or train.weights.all():
        return train
    if not train.weights.any():
        raise DataError(
            "all train rows have the weight 0 (data.weight_column), "
            "so there is nothing to learn; use other weights"
        )
    return train.select("train", np.flatnonzero(train.weights))


def cut_validation(
    rows: Rows, task: Task, fraction: float, seed: int
) -> tuple[Rows, Rows]:
    """Splits rows into train and val, stratified by label.

    Rows with the same text stay together, so that the cut creates no leak. A class
    always keeps at least one text in train. For multi-label data, the strata are the
    label combinations; see `_strata`.

    Example: six different texts, fraction 0.5.

        label of each text      [a, a, a, a, b, b]
        stratum of each text    [0, 0, 0, 0, 1, 1]
        stratum sizes           [4, 2]
        quotas for val          [2, 1]
        shuffled texts          [3, 0, 5, 1, 4, 2]    by the seed
        sorted by stratum       [3, 0, 1, 2, 5, 4]
        ranks in the stratum    [0, 1, 2, 3, 0, 1]    of the sorted texts
        texts in val            [3, 0, 5]             ranks below the quota

    Args:
        rows: the rows to split.
        task: regression is not stratified.
        fraction: share of the texts that goes to val.
        seed: chooses the rows.

    Returns:
        The train rows and the val rows, each in their old order. Val has no weights.

    Raises:
        DataError: too few rows for a validation split.
    """
    _, first_row_of_text, text_of_row = np.unique(
        rows.text_keys, return_index=True, return_inverse=True
    )
    stratum_of_row = _strata(rows, task, fraction)
    stratum_of_text = stratum_of_row[first_row_of_text]
    quotas = _quotas(np.bincount(stratum_of_text), fraction)
    rank_of_text = _random_ranks(stratum_of_text, seed)
    text_in_val = rank_of_text < quotas[stratum_of_text]
    row_in_val = text_in_val[text_of_row]
    if not row_in_val.any():
        raise DataError(
            f"no validation split can be cut from {len(rows)} rows: "
            "a label keeps at least one text in train; "
            "give one with data.val_path or data.val_split, or add rows"
        )
    train = rows.select("train", np.flatnonzero(~row_in_val))
    val = rows.select("val", np.flatnonzero(row_in_val))
    return train, replace(val, weights=None)


def subset(
    rows: Rows,
    limit: int | None,
    seed: int,
) -> Rows:
    """Takes `limit` random rows in their old order, or all rows if there are fewer."""
    if limit is None or limit >= len(rows):
        return rows
    shuffled = _generator(seed).permutation(len(rows))
    chosen = np.sort(shuffled[:limit])
    return rows.select(rows.name, chosen)


def _strata(
    rows: Rows,
    task: Task,
    fraction: float,
) -> IntArray:
    """Stratum of each row, numbered from 0, [num_rows].

    For multi-label data, a label combination that is too rare to have a row in val is
    merged into the stratum of its most frequent label.
    """
    if task is Task.regression:
        return np.zeros(len(rows), np.int64)
    strata = rows.label_keys
    if task is Task.multi_label:
        rows_per_combination = np.bincount(strata)
        is_rare = rows_per_combination[strata] * fraction < 1
        rows_per_label = rows.targets.sum(axis=0)
        most_frequent_label = (rows.targets * rows_per_label).argmax(axis=1)
        merged = len(rows_per_combination) + most_frequent_label
        strata = np.where(is_rare, merged, strata)
    numbers: IntArray = np.unique(strata, return_inverse=True)[1]
    return numbers


def _quotas(sizes: IntArray, fraction: float) -> IntArray:
    """Texts of each stratum that go to val, by the largest-remainder method.

    Each stratum keeps at least one text.

    Example: sizes [5, 3, 2], fraction 0.3.

        wanted                 [1.5, 0.9, 0.6]
        whole quotas           [1, 0, 0]
        remainders             [0.5, 0.9, 0.6]
        total                  3                  round(10 * 0.3)
        missing                2                  3 - 1
        by remainder           [1, 2, 0]          strata, largest remainder first
        quotas                 [1, 1, 1]          one more for strata 1 and 2

    Args:
        sizes: texts of each stratum, [num_strata].
        fraction: share of the texts that goes to val.

    Returns:
        Quotas, [num_strata].
    """
    wanted = sizes * fraction
    wanted_total = sizes.sum() * fraction
    quotas = wanted.astype(np.int64)
    total = max(1, round(wanted_total))
    missing = total - quotas.sum()
    by_remainder = np.argsort(quotas - wanted, kind="stable")
    can_give = quotas < sizes - 1
    candidates = by_remainder[can_give[by_remainder]]
    quotas[candidates[:missing]] += 1
    return quotas


def _random_ranks(stratum_of_text: IntArray, seed: int) -> IntArray:
    """Random rank of each text within its stratum, from 0, [num_texts].

    See the example of `cut_validation`.
    """
    num_texts = len(stratum_of_text)
    shuffled = _generator(seed).permutation(num_texts)
    by_stratum = np.argsort(stratum_of_text[shuffled], kind="stable")
    sorted_texts = shuffled[by_stratum]
    sizes = np.bincount(stratum_of_text)
    starts = np.cumsum(sizes) - sizes
    start_of_sorted_text = starts[stratum_of_text[sorted_texts]]
    ranks = np.empty_like(shuffled)
    ranks[sorted_texts] = np.arange(num_texts) - start_of_sorted_text
    return ranks


def _generator(seed: int) -> np.random.Generator:
    # PCG64 is named, because the default of NumPy may change.
    return np.random.Generator(np.random.PCG64(seed))
