"""Groups of neighbouring texts, laid out for batched products.

Shapes, here and in `grouped_attention`:

    T  tokens of the packed row, filler included
    R  texts of the packed row
    H  attention heads
    D  head size
    G  groups of neighbouring texts
    N  texts in one group
    L  length of one group: tokens of its longest text
    Q  queries per text: L, or 1 if only the first token of each text has a query
    S  slots: the sum of N * H * L over all groups
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ostinato.data.collate import Segments

# The most products of one group in each head. These products fit into a core's cache.
MAX_PRODUCTS = 2**15


class Group(NamedTuple):
    """Texts that follow each other in the packed row.

    Attributes:
        num_texts: number of texts (N).
        length: tokens of the longest text (L).
    """

    num_texts: int
    length: int


@dataclass(frozen=True)
class Layout:
    """Slots for the tokens of a packed row, ordered by group, text, head and position.

    A group has L slots for each of its texts in each head. The slots after the end of
    a shorter text are empty. With `heads_first`, the heads come before the texts.

    Attributes:
        groups: the groups, in the order of the texts.
        padding: for each group, 1 for an empty slot and 0 for a token,
            float [N, 1, 1, L]; None for a group without empty slots.
        row_of_slot: for each slot, its row in states of shape [T * H, D], int64 [S];
            an empty slot gets a row of the same text.
        slot_of_row: the slot of each of these rows, int64 [T * H].
        empty_slots: numbers of the empty slots, int64.
        num_heads: attention heads (H).
        filler: tokens at the end of the packed row that belong to no text.
    """

    groups: tuple[Group, ...]
    padding: tuple[Tensor | None, ...]
    row_of_slot: Tensor
    slot_of_row: Tensor
    empty_slots: Tensor
    num_heads: int
    filler: int

    def spread(self, states: Tensor) -> Tensor:
        """Copies states [T, H, D] into slots [S, D]."""
        head_size = states.shape[-1]
        rows = states.reshape(-1, head_size)  # [T * H, D]
        return rows.index_select(0, self.row_of_slot)

    def collect(self, slots: Tensor) -> Tensor:
        """Copies slots [S, D] back into states [T, H, D]; filler tokens get zeros."""
        head_size = slots.shape[-1]
        rows = slots.index_select(0, self.slot_of_row)  # [T * H, D]
        states = rows.view(-1, self.num_heads, head_size)
        first_filler = len(states) - self.filler
        states[first_filler:].zero_()
        return states

    def split(self, slots: Tensor, num_heads: int | None = None) -> list[Tensor]:
        """Returns a view [N * H, Q, D] of each group's part.

        Args:
            slots: [S, D], or [R * H, D] for one query per text.
            num_heads: makes the views [N * num_heads, -1, D]; heads that follow each
                other share a row.
        """
        rows_of_text = num_heads or self.num_heads
        head_size = slots.shape[-1]
        num_texts = sum(group.num_texts for group in self.groups)
        one_query = len(slots) == num_texts * self.num_heads
        sizes = []
        for group in self.groups:
            num_queries = 1 if one_query else group.length
            sizes.append(group.num_texts * self.num_heads * num_queries)
        views = []
        parts = slots.split_with_sizes(sizes)
        for group, part in zip(self.groups, parts, strict=True):
            views.append(part.view(group.num_texts * rows_of_text, -1, head_size))
        return views


# All layers share the layouts of a batch: that of the queries and that of the keys.
@lru_cache(maxsize=2)
def layout_of(
    lengths: tuple[int, ...],
    filler: int,
    num_heads: int,
    device: torch.device,
    heads_first: bool = False,
) -> Layout:
    """Lays out texts that follow each other.

    Args:
        lengths: tokens of each text.
        filler: tokens after the last text.
        num_heads: attention heads.
        device: device of the layout's tensors.
        heads_first: orders the slots of a group by head, text and position.
    """
    groups = group_texts(lengths)
    text_lengths = np.array(lengths)  # [R]
    starts = np.cumsum(text_lengths) - text_lengths  # [R]

    padding: list[Tensor | None] = []
    rows_of_groups: list[NDArray[np.int64]] = []
    filled_of_groups: list[NDArray[np.bool_]] = []
    first = 0
    for group in groups:
        texts = slice(first, first + group.num_texts)
        first = texts.stop
        is_token = np.arange(group.length) < text_lengths[texts, None]  # [N, L]
        padding.append(_padding(is_token, device))
        rows = _row_numbers(starts[texts], is_token, num_heads)  # [N, H, L]
        filled = np.repeat(is_token[:, None], num_heads, axis=1)  # [N, H, L]
        if heads_first:
            rows, filled = rows.swapaxes(0, 1), filled.swapaxes(0, 1)
        rows_of_groups.append(rows.ravel())
        filled_of_groups.append(filled.ravel())

    row_of_slot = np.concatenate(rows_of_groups)  # [S]
    is_filled = np.concatenate(filled_of_groups)  # [S]
    filled_slots = np.flatnonzero(is_filled)
    slot_of_row = np.zeros((sum(lengths) + filler) * num_heads, dtype=np.int64)
    slot_of_row[row_of_slot[is_filled]] = filled_slots
    return Layout(
        groups=groups,
        padding=tuple(padding),
        row_of_slot=torch.from_numpy(row_of_slot).to(device),
        slot_of_row=torch.from_numpy(slot_of_row).to(device),
        empty_slots=torch.from_numpy(np.flatnonzero(~is_filled)).to(device),
        num_heads=num_heads,
        filler=filler,
    )


def _padding(is_token: NDArray[np.bool_], device: torch.device) -> Tensor | None:
    """Turns a group's mask [N, L] into float [N, 1, 1, L]; None if nothing is empty."""
    if is_token.all():
        return None
    is_empty = ~is_token[:, None, None]  # [N, 1, 1, L]
    return torch.from_numpy(is_empty).float().to(device)


def _row_numbers(
    starts: NDArray[np.int64], is_token: NDArray[np.bool_], num_heads: int
) -> NDArray[np.int64]:
    """Numbers the rows of [T * H, D] that a group reads, [N, H, L].

    Args:
        starts: first token of each text, [N].
        is_token: mask of the slots that hold a token, [N, L].
        num_heads: attention heads.
    """
    length = is_token.shape[1]
    offsets = np.arange(length) * is_token  # [N, L]; 0 for an empty slot
    tokens = starts[:, None] + offsets  # [N, L]
    heads = np.arange(num_heads)[:, None]  # [H, 1]
    rows: NDArray[np.int64] = tokens[:, None] * num_heads + heads  # [N, H, L]
    return rows


def group_texts(lengths: tuple[int, ...]) -> tuple[Group, ...]:
    """Puts neighbours into one group as long as their products fit into the cache.

    Args:
        lengths: tokens of each text.
    """
    groups = []
    num_texts = 0
    longest = 0
    for length in lengths:
        new_longest = max(longest, length)
        num_products = (num_texts + 1) * new_longest**2
        if num_texts and num_products > MAX_PRODUCTS:
            groups.append(Group(num_texts, longest))
            num_texts = 0
            new_longest = length
        num_texts += 1
        longest = new_longest
    groups.append(Group(num_texts, longest))
    return tuple(groups)


def text_of_token(segments: Segments, num_tokens: int) -> Tensor:
    """Numbers the text of each token; the filler counts as one more text.

    Args:
        segments: positions of the texts in the row.
        num_tokens: tokens of the row, filler included.

    Returns:
        int64 [num_tokens].
    """
    lengths = segments.bounds.diff()  # [R + 1]
    texts = torch.arange(len(lengths), device=lengths.device)
    return torch.repeat_interleave(texts, lengths, output_size=num_tokens)
