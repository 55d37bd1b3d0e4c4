"""Which rows make which batch: a pure function from lengths and a seed to lists of row numbers.

The plan of an epoch is computed whole, so that a position in training is one integer. Touches no text and no tensor.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ostinato.config import Batching

Indices = NDArray[np.int64]

_BUCKET_BATCHES = (
    50  # rows are sorted by length within groups of this many batches: 1.05 times the real tokens, still random
)


def plan_epoch(
    lengths: NDArray[np.int32], batch_size: int, seed: int, batching: Batching, tokens_per_batch: int | None = None
) -> list[Indices]:
    """Plans one epoch; every row stands in exactly one batch, and a batch goes from short rows to long ones.

    Args:
        lengths: tokens of each row, [num_rows].
        batch_size: rows per batch; the last batch may be smaller.
        seed: decides the order; the same seed gives the same plan.
        batching: `bucketed` puts rows of like length together, the others do not.
        tokens_per_batch: cut by tokens instead of rows: batches of equal size, this large or a little smaller.

    Returns:
        Row numbers of each batch, in the order of training.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    order = generator.permutation(len(lengths))
    num_batches = count_batches(lengths, batch_size, tokens_per_batch)
    if batching is Batching.bucketed:
        bucket = _BUCKET_BATCHES * (batch_size if tokens_per_batch is None else math.ceil(len(order) / num_batches))
        order = _by_length(order, lengths, np.arange(len(order)) // bucket)
    ends = batch_size * np.arange(1, num_batches) if tokens_per_batch is None else _even(lengths[order], num_batches)
    order = _by_length(order, lengths, np.searchsorted(ends, np.arange(len(order)), side="right"))
    batches = np.split(order, ends)
    return batches if batching is not Batching.bucketed else [batches[i] for i in generator.permutation(num_batches)]


def count_batches(lengths: NDArray[np.int32], batch_size: int, tokens_per_batch: int | None = None) -> int:
    """Batches of an epoch, the same for every seed."""
    size, batch = (len(lengths), batch_size) if tokens_per_batch is None else (int(lengths.sum()), tokens_per_batch)
    return max(1, min(len(lengths), math.ceil(size / batch)))


def plan_evaluation(lengths: NDArray[np.int32], batch_size: int) -> list[Indices]:
    """Plans one pass over all rows, shortest first; needs no seed and pads next to nothing."""
    order = np.argsort(lengths, kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def _by_length(order: Indices, lengths: NDArray[np.int32], group: NDArray[np.int64]) -> Indices:
    """One stable sort by (group, length): rows of equal length keep their random order."""
    return order[np.lexsort((lengths[order], group))]


def _even(lengths: NDArray[np.int32], parts: int) -> NDArray[np.int64]:
    """Where to cut rows so that each part holds about as many tokens as the others, and one row at least."""
    tokens = np.cumsum(lengths, dtype=np.int64)
    number = np.arange(1, parts)
    ends = np.searchsorted(tokens, tokens[-1] * number // parts, side="right")
    return np.minimum(np.maximum.accumulate(np.maximum(ends - number, 0)) + number, len(lengths) - parts + number)


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
