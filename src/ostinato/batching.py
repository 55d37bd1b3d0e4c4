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


def plan_epoch(lengths: NDArray[np.int32], batch_size: int, seed: int, batching: Batching) -> list[Indices]:
    """Plans one epoch; every row stands in exactly one batch.

    Args:
        lengths: tokens of each row, [num_rows].
        batch_size: rows per batch; the last batch may be smaller.
        seed: decides the order; the same seed gives the same plan.
        batching: `bucketed` puts rows of like length together, `random` does not.

    Returns:
        Row numbers of each batch, in the order of training.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    order = generator.permutation(len(lengths))
    if batching is Batching.random:
        return _cut(order, batch_size)
    bucket = batch_size * _BUCKET_BATCHES
    position = np.arange(len(order)) // bucket
    # One stable sort by (bucket, length): rows of equal length keep their random order.
    order = order[np.lexsort((lengths[order], position))]
    batches = [
        batch for start in range(0, len(order), bucket) for batch in _cut(order[start : start + bucket], batch_size)
    ]
    return [batches[i] for i in generator.permutation(len(batches))]


def plan_evaluation(lengths: NDArray[np.int32], batch_size: int) -> list[Indices]:
    """Plans one pass over all rows, shortest first; needs no seed and pads next to nothing."""
    return _cut(np.argsort(lengths, kind="stable"), batch_size)


def _cut(order: Indices, batch_size: int) -> list[Indices]:
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


@dataclass(frozen=True)
class Schedule:
    """Where each optimizer step of a training stands: a function from the step's number to (epoch, batch)."""

    num_rows: int
    batch_size: int
    epochs: float

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in a whole epoch."""
        return math.ceil(self.num_rows / self.batch_size)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole training; at least one."""
        return max(1, math.ceil(self.epochs * self.steps_per_epoch - 1e-9))

    def position(self, step: int) -> tuple[int, int]:
        """Epoch and batch within it of a step, all counted from zero."""
        return divmod(step, self.steps_per_epoch)
