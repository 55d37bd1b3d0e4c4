"""Decides which rows form which batch, from their lengths and a seed.

An epoch is planned as a whole, so that a position in training is one integer. Only row
numbers are handled here: no texts and no tensors.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ostinato.config import Batching
from ostinato.data.token_budget import Counts, Lengths, assign_batches, round_up

Indices = NDArray[np.int64]

# Rows are sorted by length within buckets of this many batches. A batch computes 1.05
# times its real tokens and is still random.
_BUCKET_BATCHES = 50


def plan_epoch(
    lengths: Lengths,
    batch_size: int,
    seed: int,
    batching: Batching,
    tokens_per_batch: int | None = None,
) -> list[Indices]:
    """Plans one epoch; every row is in exactly one batch.

    The rows of a batch are sorted by length, shortest first.

    Args:
        lengths: tokens of each row, [num_rows].
        batch_size: rows per batch; the last batch may be smaller.
        seed: decides the order; the same seed gives the same plan.
        batching: `bucketed` puts rows of similar length together, the others do not.
        tokens_per_batch: limits batches by tokens instead of rows. A batch has more
            tokens only if it is a single row.

    Returns:
        Row numbers of each batch, in the order of training.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    order = generator.permutation(len(lengths))
    if tokens_per_batch is not None:
        batches = _split_by_tokens(order, lengths, batching, tokens_per_batch)
        return _shuffle(batches, generator)
    batches = _split_by_rows(order, lengths, batching, batch_size)
    if batching is Batching.bucketed:
        batches = _shuffle(batches, generator)
    return batches


def count_batches(
    lengths: Lengths,
    batch_size: int,
    batching: Batching,
    tokens_per_batch: int | None = None,
) -> int:
    """Number of batches of an epoch, the same for every seed; see `plan_epoch`."""
    if tokens_per_batch is None:
        return max(1, math.ceil(len(lengths) / batch_size))
    sizes = round_up(lengths, tokens_per_batch)
    batch_of_row = assign_batches(sizes, tokens_per_batch, batching)
    return int(batch_of_row.max()) + 1


def plan_evaluation(
    lengths: Lengths, batch_size: int, windows: Lengths | None = None
) -> list[Indices]:
    """Plans one pass over all rows, shortest first, with almost no padding.

    Args:
        lengths: tokens of each row, [num_rows].
        batch_size: rows per batch, or windows if rows have windows.
        windows: windows of each row, [num_rows]. A batch has more of them only if it is
            a single row.
    """
    order = np.argsort(lengths, kind="stable")
    if windows is None:
        windows = np.ones_like(lengths)
    starts = []
    room = 0
    for position, count in enumerate(windows[order].tolist()):
        if position == 0 or count > room:
            starts.append(position)
            room = batch_size
        room -= count
    return np.split(order, starts[1:]) if starts else []


def _split_by_rows(
    order: Indices,
    lengths: Lengths,
    batching: Batching,
    batch_size: int,
) -> list[Indices]:
    positions = np.arange(len(order))
    if batching is Batching.bucketed:
        bucket_size = _BUCKET_BATCHES * batch_size
        bucket_of_position = positions // bucket_size
        order = _sort_by_length(order, lengths, bucket_of_position)
    batch_of_position = positions // batch_size
    order = _sort_by_length(order, lengths, batch_of_position)
    num_batches = count_batches(lengths, batch_size, batching)
    ends = batch_size * np.arange(1, num_batches)
    return np.split(order, ends)


def _split_by_tokens(
    order: Indices,
    lengths: Lengths,
    batching: Batching,
    budget: int,
) -> list[Indices]:
    sizes = round_up(lengths, budget)
    largest_first = np.argsort(-sizes[order], kind="stable")
    order = order[largest_first]
    batch_of_position = assign_batches(sizes, budget, batching)
    order = _sort_by_length(order, lengths, batch_of_position)
    rows_per_batch = np.bincount(batch_of_position)
    ends = np.cumsum(rows_per_batch)[:-1]
    return np.split(order, ends)


def _shuffle(batches: list[Indices], generator: np.random.Generator) -> list[Indices]:
    order = generator.permutation(len(batches))
    return [batches[number] for number in order]


def _sort_by_length(
    order: Indices,
    lengths: Lengths,
    group: Counts,
) -> Indices:
    """Sorts by (group, length); rows of equal length keep their random order."""
    by_group_and_length = np.lexsort((lengths[order], group))
    return order[by_group_and_length]


@dataclass(frozen=True)
class Schedule:
    """Maps the number of an optimizer step to an epoch and a batch.

    Attributes:
        steps_per_epoch: optimizer steps of one epoch.
        epochs: length of the training in epochs.
        max_steps: length of the training in steps, instead of epochs.
    """

    steps_per_epoch: int
    epochs: float
    max_steps: int | None = None

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole training; at least one."""
        if self.max_steps is not None:
            return self.max_steps
        # Absorbs rounding errors: 0.07 * 100 is 7.000000000000001.
        steps = self.epochs * self.steps_per_epoch - 1e-9
        return max(1, math.ceil(steps))

    def position(self, step: int) -> tuple[int, int]:
        """Epoch of a step, and batch within the epoch; all numbers start at zero."""
        return divmod(step, self.steps_per_epoch)
