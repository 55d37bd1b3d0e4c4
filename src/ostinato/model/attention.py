"""Attention within the texts of a packed row.

Batched products of a few neighbours at a time and a backward pass of our own are faster than
`scaled_dot_product_attention` on a CPU at the lengths of texts, the more so with dropout.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ostinato.data.collate import Segments
from ostinato.model.dropout import Masks, kept_share

_GROUP = (
    2**15
)  # products of a group of texts, in each head: they stay in a core's cache


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: Segments,
    scale: float,
    dropout: float = 0.0,
    masks: Masks | None = None,
    window: int | None = None,
) -> Tensor:
    """Softmax attention of each text to itself.

    Args:
        query: [num_tokens, num_heads, head_dim], or [num_rows, ...]: the first token of each text alone asks.
        key: [num_tokens, num_heads, head_dim].
        value: as `key`.
        segments: where the texts lie.
        scale: factor of the products before the softmax.
        dropout: probability with which an attention weight is dropped.
        masks: draws what is dropped; needed with dropout.
        window: a token sees those less than this many positions away; None: all of its text.

    Returns:
        What each query reads, shaped as `query`.
    """
    windowed_first_tokens = window is not None and len(query) != len(
        key
    )  # the kernel would count from a text's end
    if _has_kernel(query) and not windowed_first_tokens:
        return _flash(query, key, value, segments, scale, dropout, window)
    read: Tensor = _grouped(query, key, value, segments, scale, dropout, masks, window)
    return read


def _has_kernel(query: Tensor) -> bool:
    """Flash attention of variable length: on NVIDIA GPUs since Ampere, in half precision, for heads of 8, 16, ..."""
    halves = query.dtype in (torch.float16, torch.bfloat16) and query.shape[-1] % 8 == 0
    return (
        query.is_cuda
        and halves
        and torch.cuda.get_device_properties(query.device).major >= 8
    )


def _flash(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: Segments,
    scale: float,
    dropout: float,
    window: int | None,
) -> Tensor:
    """The kernel beneath `torch.nn.attention.varlen`, which itself has no dropout.

    What fills a row up is one more text here, with no query where first tokens alone ask: the kernel leaves memory
    unwritten where no text lies, gradients as well. Its backward pass is deterministic where
    `torch.use_deterministic_algorithms` forbids what is not.
    """
    asking, most = segments.bounds, segments.longest
    if len(query) != len(key):
        asking = torch.arange(
            len(query) + 2, dtype=torch.int32, device=query.device
        ).clamp(max=len(query))
        most = 1
    seen = -1 if window is None else window - 1
    return torch.ops.aten._flash_attention_forward(  # type: ignore[no-any-return]
        query,
        key,
        value,
        asking,
        segments.bounds,
        most,
        segments.longest,
        dropout,
        False,
        False,
        scale=scale,
        window_size_left=seen,
        window_size_right=seen,
    )[0]


@torch.compiler.disable  # type: ignore[untyped-decorator]  # else each batch were compiled anew for its lengths
def _grouped(
    query: Tensor, key: Tensor, value: Tensor, segments: Segments, *options: Any
) -> Any:
    layout = _Layout.of(segments.lengths, segments.filler, key.shape[1], key.device)
    return _Attend.apply(query, key, value, layout, *options)  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class _Layout:
    """Groups of texts that follow each other, heads apart, each group padded to its longest text.

    Attributes:
        groups: (texts, length) of each.
        padding: for each group, 1 where no token stands, float [texts, 1, 1, length]; None where one stands everywhere.
        sources: for each slot, a row of [num_tokens * num_heads, head_dim], int64 [num_slots]; any of its text's own
            where no token stands.
        slots: the slot of each such row, int64 [num_tokens * num_heads].
        empty: slots where no token stands, int64.
        filler: tokens at the end that belong to no text.
    """

    groups: tuple[tuple[int, int], ...]
    padding: tuple[Tensor | None, ...]
    sources: Tensor
    slots: Tensor
    empty: Tensor
    filler: int

    @classmethod
    @lru_cache(maxsize=1)  # all layers of a batch share one
    def of(
        cls, lengths: tuple[int, ...], filler: int, heads: int, device: torch.device
    ) -> "_Layout":
        """Lays out texts of these lengths, in tokens."""
        groups = _neighbours(lengths)
        padding: list[Tensor | None] = []
        sources, stands = [], []
        rest, end = np.array(lengths), 0
        for texts, length in groups:
            own, rest = rest[:texts, None], rest[texts:]
            begin, end = end + np.cumsum(own)[:, None] - own, end + int(own.sum())
            place = np.arange(length)
            stand = place < own  # [texts, length]
            padding.append(
                None
                if stand.all()
                else torch.from_numpy(~stand[:, None, None]).float().to(device)
            )
            tokens = (begin + place * stand)[:, None]
            sources.append(
                (tokens * heads + np.arange(heads)[:, None]).ravel()
            )  # [texts, heads, length]
            stands.append(np.repeat(stand[:, None], heads, axis=1).ravel())
        source, stand = np.concatenate(sources), np.concatenate(stands)
        slots = np.zeros((sum(lengths) + filler) * heads, dtype=np.int64)
        slots[source[stand]] = np.flatnonzero(stand)
        at, back, empty = (
            torch.from_numpy(p).to(device)
            for p in (source, slots, np.flatnonzero(~stand))
        )
        return cls(groups, tuple(padding), at, back, empty, filler)

    def spread(self, states: Tensor) -> Tensor:
        """[num_tokens, num_heads, head_dim] as [num_slots, head_dim]."""
        return states.reshape(-1, states.shape[-1]).index_select(0, self.sources)

    def collect(self, spread: Tensor, heads: int) -> Tensor:
        """The reverse; zeros where the row is filled up."""
        states = spread.index_select(0, self.slots).view(-1, heads, spread.shape[-1])
        states[len(states) - self.filler :].zero_()
        return states

    def split(self, spread: Tensor, heads: int) -> list[Tensor]:
        """What belongs to each group, [texts * num_heads, length, head_dim] (or a length of one)."""
        alone = len(spread) == heads * sum(texts for texts, _ in self.groups)
        sizes = [
            heads * texts * (1 if alone else length) for texts, length in self.groups
        ]
        parts = spread.split_with_sizes(sizes)
        return [
            p.view(heads * texts, -1, p.shape[-1])
            for p, (texts, _) in zip(parts, self.groups, strict=True)
        ]


def _neighbours(lengths: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Groups of texts as long as their products stay in cache; (texts, longest length) of each."""
    groups: list[tuple[int, int]] = []
    texts = longest = 0
    for length in lengths:
        if texts and (texts + 1) * max(longest, length) ** 2 > _GROUP:
            groups.append((texts, longest))
            texts = longest = 0
        texts, longest = texts + 1, max(longest, length)
    return (*groups, (texts, longest))


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        layout: _Layout,
        scale: float,
        dropout: float,
        masks: Masks | None,
        window: int | None,
    ) -> Tensor:
        heads = key.shape[1]
        ctx.alone = len(query) != len(key)
        queries = (
            query.reshape(-1, query.shape[-1]) * scale
            if ctx.alone
            else layout.spread(query).mul_(scale)
        )
        keys, values = layout.spread(key), layout.spread(value)
        read = torch.empty_like(queries)
        saved: list[Tensor] = []
        learns = any(ctx.needs_input_grad)
        parts = (
            layout.split(spread, heads) for spread in (queries, keys, values, read)
        )
        with torch.autocast(query.device.type, enabled=False):
            for padding, q, k, v, out in zip(layout.padding, *parts, strict=True):
                products = torch.bmm(q, k.transpose(1, 2))
                _hide(products, padding, window)
                weights = torch.softmax(products, -1, out=products)
                kept = [weights]
                if dropout and masks is not None:
                    keep = masks.keep(weights.shape, dropout, weights.device)
                    kept.append(keep)
                    weights = keep.to(weights.dtype).mul_(weights)
                torch.bmm(weights, v, out=out)
                saved += kept if learns else []
        ctx.save_for_backward(queries, keys, values, *saved)
        ctx.layout, ctx.heads, ctx.scale, ctx.kept = (
            layout,
            heads,
            scale,
            kept_share(dropout),
        )
        if dropout:
            read.div_(ctx.kept)
        return read.view_as(query) if ctx.alone else layout.collect(read, heads)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        layout, heads = ctx.layout, ctx.heads
        queries, keys, values, *saved = ctx.saved_tensors
        kept_weights = iter(saved)
        if ctx.alone:
            gradient = gradient.reshape(-1, gradient.shape[-1]) / ctx.kept
        else:
            gradient = (
                layout.spread(gradient).index_fill_(0, layout.empty, 0).div_(ctx.kept)
            )
        found = [torch.empty_like(states) for states in (queries, keys, values)]
        parts = (
            layout.split(spread, heads)
            for spread in (gradient, queries, keys, values, *found)
        )
        for g, q, k, v, to_query, to_key, to_value in zip(*parts, strict=True):
            weights = next(kept_weights)
            to_weights = torch.bmm(g, v.transpose(1, 2))
            kept = weights
            if ctx.kept < 1:
                keep = next(kept_weights).to(weights.dtype)
                to_weights = to_weights.mul_(keep)
                kept = keep.mul_(weights)
            torch.bmm(kept.transpose(1, 2), g, out=to_value)
            to_products = torch._softmax_backward_data(
                to_weights, weights, -1, weights.dtype
            )
            torch.bmm(to_products, k, out=to_query)
            torch.bmm(to_products.transpose(1, 2), q, out=to_key)
        queries, keys, values = found
        queries.mul_(ctx.scale)
        to_query = (
            queries.view(-1, heads, queries.shape[-1])
            if ctx.alone
            else layout.collect(queries, heads)
        )
        return (
            to_query,
            layout.collect(keys, heads),
            layout.collect(values, heads),
            None,
            None,
            None,
            None,
            None,
        )


def _hide(products: Tensor, padding: Tensor | None, window: int | None) -> None:
    """Keeps queries from keys that are none and from those too far away."""
    queries, length = products.shape[1:]
    if padding is not None:  # finite: a query that is none may see nothing else
        texts = padding.shape[0]
        nothing = torch.finfo(products.dtype).min / 2
        products.view(texts, -1, queries, length).add_(
            padding.to(products.dtype), alpha=nothing
        )
    if window is not None and length > window:
        position = torch.arange(length, device=products.device)
        products.masked_fill_(
            (position[:queries, None] - position).abs() >= window, -math.inf
        )
