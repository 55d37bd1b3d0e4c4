"""Which rows make which batch: a pure function from lengths and a seed to lists of row numbers.

The plan of an epoch is computed whole, so that a position in training is one integer. Touches no text and no tensor.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ostinato.config import Batching

Indices = NDArray[np.int64]

_BUCKET_BATCHES = 50  # rows are sorted by length within groups of this many batches: 1.05 times the real tokens, still random


def plan_epoch(
    lengths: NDArray[np.int32],
    batch_size: int,
    seed: int,
    batching: Batching,
    tokens_per_batch: int | None = None,
) -> list[Indices]:
    """Plans one epoch; every row is in exactly one batch, and a batch goes from short rows to long ones.

    Args:
        lengths: tokens of each row, [num_rows].
        batch_size: rows per batch; the last batch may be smaller.
        seed: decides the order; the same seed gives the same plan.
        batching: `bucketed` puts rows of like length together, the others do not.
        tokens_per_batch: cut by tokens instead of rows: no batch holds more, unless one row alone does.

    Returns:
        Row numbers of each batch, in the order of training.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    order = generator.permutation(len(lengths))
    if tokens_per_batch is not None:
        sizes = _sizes(lengths, tokens_per_batch)
        order = order[np.argsort(-sizes[order], kind="stable")]
        batch = _assign(sizes, tokens_per_batch, batching)
        ends = np.cumsum(np.bincount(batch))[:-1]
        batches = np.split(order[np.lexsort((lengths[order], batch))], ends)
        return [batches[i] for i in generator.permutation(len(batches))]
    num_batches = count_batches(lengths, batch_size, batching)
    if batching is Batching.bucketed:
        order = _by_length(
            order, lengths, np.arange(len(order)) // (_BUCKET_BATCHES * batch_size)
        )
    ends = batch_size * np.arange(1, num_batches)
    order = _by_length(
        order, lengths, np.searchsorted(ends, np.arange(len(order)), side="right")
    )
    batches = np.split(order, ends)
    return (
        batches
        if batching is not Batching.bucketed
        else [batches[i] for i in generator.permutation(num_batches)]
    )


def count_batches(
    lengths: NDArray[np.int32],
    batch_size: int,
    batching: Batching,
    tokens_per_batch: int | None = None,
) -> int:
    """Batches of an epoch, the same for every seed; see `plan_epoch`."""
    if tokens_per_batch is None:
        return max(1, math.ceil(len(lengths) / batch_size))
    return (
        int(
            _assign(_sizes(lengths, tokens_per_batch), tokens_per_batch, batching).max()
        )
        + 1
    )


def _sizes(lengths: NDArray[np.int32], budget: int) -> NDArray[np.int64]:
    """Lengths rounded up by at most a sixteenth, so that like rows can swap; at least 1, at most the budget."""
    sizes = np.maximum(lengths.astype(np.int64), 1)
    quantum = 2 ** np.maximum(np.floor(np.log2(sizes)).astype(np.int64) - 4, 0)
    return np.asarray(np.minimum(-(-sizes // quantum) * quantum, budget))


def _assign(
    sizes: NDArray[np.int64], budget: int, batching: Batching
) -> NDArray[np.int64]:
    """The batch of each row, rows in the order of their sizes, largest first: a function of the sizes alone.

    Bucketed: the first batch with room (first-fit decreasing), which keeps like sizes together. Otherwise the sizes of
    each kind are spread so that the fullest batch stays as empty as it can; where that fails, over more batches.
    """
    kinds, counts = (values[::-1] for values in np.unique(sizes, return_counts=True))
    first_fit = _fill(
        kinds, counts, np.zeros(2 * int(sizes.sum() // budget) + 2, np.int64), budget
    )
    assert first_fit is not None  # at most one batch is less than half full
    if batching is Batching.bucketed:
        return first_fit
    num_batches = int(first_fit.max()) + 1
    while True:
        spread = _fill(
            kinds, counts, np.zeros(num_batches, np.int64), budget, level=True
        )
        if spread is not None:
            return spread
        num_batches = min(
            num_batches + 1 + num_batches // 100, len(sizes)
        )  # in as many as rows, each fits


def _fill(
    kinds: NDArray[np.int64],
    counts: NDArray[np.int64],
    loads: NDArray[np.int64],
    budget: int,
    level: bool = False,
) -> NDArray[np.int64] | None:
    """The batch of each row, kind by kind; None where they do not fit.

    Args:
        kinds: sizes, largest first.
        counts: rows of each.
        loads: tokens of each batch so far; changed.
        budget: tokens that a batch takes.
        level: takes the smallest budget for each kind that lets its rows in.
    """
    batches = []
    for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True):
        top = budget
        if level:
            room = partial(_room, loads, kind)
            top = bisect_left(
                range(budget), count, key=lambda most: int(room(most).sum())
            )
        taken = np.diff(
            np.minimum(np.cumsum(_room(loads, kind, top)), count), prepend=0
        )
        if taken.sum() < count:
            return None
        loads += taken * kind
        batches.append(np.repeat(np.arange(len(loads)), taken))
    return np.concatenate(batches)


def _room(loads: NDArray[np.int64], kind: int, budget: int) -> NDArray[np.int64]:
    """Rows of a size that each batch still takes."""
    return np.maximum(budget - loads, 0) // kind


def plan_evaluation(lengths: NDArray[np.int32], batch_size: int) -> list[Indices]:
    """Plans one pass over all rows, shortest first; needs no seed and pads next to nothing."""
    order = np.argsort(lengths, kind="stable")
    return [
        order[start : start + batch_size] for start in range(0, len(order), batch_size)
    ]


def _by_length(
    order: Indices, lengths: NDArray[np.int32], group: NDArray[np.int64]
) -> Indices:
    """One stable sort by (group, length): rows of equal length keep their random order."""
    return order[np.lexsort((lengths[order], group))]


@dataclass(frozen=True)
class Schedule:
    """Where each optimizer step of a training stands: a function from the step's number to (epoch, batch)."""

    steps_per_epoch: int
    epochs: float

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole training; at least one."""
        return max(1, math.ceil(self.epochs * self.steps_per_epoch - 1e-9))

    def position(self, step: int) -> tuple[int, int]:
        """Epoch and batch within it of a step, all counted from zero."""
        return divmod(step, self.steps_per_epoch)
