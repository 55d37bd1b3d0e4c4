"""Fills batches with rows up to a number of tokens."""

from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

from ostinato.config import Batching

Lengths = NDArray[np.int32]
Counts = NDArray[np.int64]


def round_up(lengths: Lengths, budget: int) -> Counts:
    """Rounds lengths up by at most a sixteenth, so that similar rows can be swapped.

    Example with a budget of 2048:

        length           30    101    1000
        power of two     16     64     512    the largest that is not above the length
        step              1      4      32    a sixteenth of it, at least 1
        steps needed     30     26      32
        size             30    104    1024    steps needed * step

    Returns:
        Sizes, [num_rows]; at least 1 and at most the budget.
    """
    sizes = np.maximum(lengths.astype(np.int64), 1)
    exponents = np.floor(np.log2(sizes))
    step_exponents = np.maximum(exponents.astype(np.int64) - 4, 0)
    steps = 2**step_exponents
    steps_needed = -(-sizes // steps)
    rounded = steps_needed * steps
    return np.asarray(np.minimum(rounded, budget))


def assign_batches(
    sizes: Counts,
    budget: int,
    batching: Batching,
) -> Counts:
    """Assigns rows to batches; the result depends on the sizes alone, not on the seed.

    `bucketed` uses first-fit decreasing: each row goes into the first batch with room,
    which keeps similar sizes together. The other values use the same number of batches
    but level them: each size is spread so that the fullest batch stays as empty as
    possible. If the rows do not fit this way, the number of batches grows.

    Example with sizes [2, 5, 2, 5, 2] and a budget of 10:

        distinct sizes    [5, 2]             largest first
        counts            [2, 3]             rows of each size
        sorted rows       [5, 5, 2, 2, 2]
        first fit         [0, 0, 1, 1, 1]    batches of 10 and 6 tokens: `bucketed`
        leveled           [0, 1, 0, 0, 1]    batches of 9 and 7 tokens: the others

    Args:
        sizes: tokens of each row, [num_rows], in any order.
        budget: tokens that fit into a batch.
        batching: see above.

    Returns:
        Batch of each row, [num_rows]; the rows are sorted by size, largest first.
    """
    distinct, counts = np.unique(sizes, return_counts=True)
    distinct = distinct[::-1]
    counts = counts[::-1]
    # At most one batch is less than half full, so this many batches always suffice.
    full_batches = int(sizes.sum() // budget)
    enough_batches = 2 * full_batches + 2
    first_fit = _fill(distinct, counts, enough_batches, budget)
    assert first_fit is not None
    if batching is Batching.bucketed:
        return first_fit
    num_batches = int(first_fit.max()) + 1
    while True:
        leveled = _fill(distinct, counts, num_batches, budget, level=True)
        if leveled is not None:
            return leveled
        more_batches = num_batches + 1 + num_batches // 100
        # With one batch per row, every row fits.
        num_batches = min(more_batches, len(sizes))


def _fill(
    sizes: Counts,
    counts: Counts,
    num_batches: int,
    budget: int,
    level: bool = False,
) -> Counts | None:
    """Puts rows into batches, one size after another.

    Example: two rows of 5 tokens and three rows of 2 tokens go into two batches of at
    most 10 tokens, so sizes=[5, 2], counts=[2, 3], num_batches=2, budget=10.

    Without `level`, the limit is the budget:

        rows of 5:  limit 10, room [2, 2], taken [2, 0], loads [10, 0]
        rows of 2:  limit 10, room [0, 5], taken [0, 3], loads [10, 6]
        result:     [0, 0, 1, 1, 1]

    With `level`, the limit is the smallest with enough room:

        rows of 5:  limit 5, room [1, 1], taken [1, 1], loads [5, 5]
        rows of 2:  limit 9, room [2, 2], taken [2, 1], loads [9, 7]
        result:     [0, 1, 0, 0, 1]

    Args:
        sizes: distinct sizes in tokens, largest first, [num_sizes].
        counts: rows of each size, [num_sizes].
        num_batches: batches to fill.
        budget: tokens that fit into a batch.
        level: spread each size over the batches as evenly as possible.

    Returns:
        Batch of each row, in the order of `sizes`, [num_rows]; None if the rows do not
        fit.
    """
    loads = np.zeros(num_batches, np.int64)
    assigned = []
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        limit = budget
        if level:
            limit = _lowest_limit(loads, size, count, budget)
        room = _room(loads, size, limit)
        # The first batches take as many rows as they have room for.
        taken_so_far = np.minimum(np.cumsum(room), count)
        taken = np.diff(taken_so_far, prepend=0)
        if taken.sum() < count:
            return None
        loads += taken * size
        assigned.append(np.repeat(np.arange(num_batches), taken))
    return np.concatenate(assigned)


def _lowest_limit(
    loads: Counts,
    size: int,
    count: int,
    budget: int,
) -> int:
    """The lowest limit on tokens per batch with room for `count` rows of a size.

    Example: loads [5, 5], size 2, count 3. A limit of 8 gives room [1, 1], which is too
    little. A limit of 9 gives room [2, 2], so the result is 9.

    Returns:
        The limit; the budget if no lower limit has enough room.
    """

    def total_room(limit: int) -> int:
        return int(_room(loads, size, limit).sum())

    return bisect_left(range(budget), count, key=total_room)


def _room(
    loads: Counts,
    size: int,
    limit: int,
) -> Counts:
    """Rows of a size that each batch can still take.

    Example: loads [10, 6, 0], size 2, limit 9.

        free tokens  [0, 3, 9]
        room         [0, 1, 4]
    """
    free_tokens = np.maximum(limit - loads, 0)
    return free_tokens // size
