"""Attention of groups of texts as batched products, with its own backward pass.

On a CPU this is faster than `scaled_dot_product_attention` at the lengths of texts,
above all with dropout. `layout` explains the letters of the shapes.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ostinato.data.collate import Segments
from ostinato.model.dropout import Masks, kept_share
from ostinato.model.layout import Layout, layout_of


@dataclass(frozen=True)
class Options:
    """The arguments of `attention.attend` that are not tensors of the row."""

    scale: float
    dropout: float
    masks: Masks | None
    window: int | None

    @property
    def kept_share(self) -> float:
        """Probability that an attention weight is kept."""
        if self.masks is None:
            return 1.0
        return kept_share(self.dropout)

    def keep(self, weights: Tensor) -> Tensor | None:
        """Draws an int8 mask for attention weights; None without dropout."""
        if self.masks is None or not self.dropout:
            return None
        mask: Tensor = self.masks.keep(weights.shape, self.dropout, weights.device)
        return mask


# If this were compiled, it would be compiled again for the lengths of each batch.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def attend_in_groups(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: Segments,
    scale: float,
    dropout: float,
    masks: Masks | None,
    window: int | None,
) -> Tensor:
    """Computes what `attention.attend` documents, on any device in any precision."""
    options = Options(scale, dropout, masks, window)
    num_heads = key.shape[1]
    layout = layout_of(segments.lengths, segments.filler, num_heads, key.device)
    output: Tensor = _GroupedAttention.apply(  # type: ignore[no-untyped-call]
        query, key, value, layout, options
    )
    return output


class _GroupedAttention(torch.autograd.Function):
    """Softmax attention over a layout."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        layout: Layout,
        options: Options,
    ) -> Tensor:
        one_query = len(query) != len(key)
        queries = _scaled_queries(query, layout, options.scale, one_query)
        keys = layout.spread(key)  # [S, D]
        values = layout.spread(value)  # [S, D]
        outputs = torch.empty_like(queries)

        needs_gradient = any(ctx.needs_input_grad)
        all_weights: list[Tensor] = []
        all_masks: list[Tensor] = []
        groups = zip(
            layout.padding,
            layout.split(queries),
            layout.split(keys),
            layout.split(values),
            layout.split(outputs),
            strict=True,
        )
        with torch.autocast(query.device.type, enabled=False):
            for padding, q, k, v, output in groups:
                weights = _weights(q, k, padding, options.window)  # [N * H, Q, L]
                kept_weights = weights
                mask = options.keep(weights)
                if mask is not None:
                    kept_weights = mask.to(weights.dtype).mul_(weights)
                torch.bmm(kept_weights, v, out=output)
                if needs_gradient:
                    all_weights.append(weights)
                if needs_gradient and mask is not None:
                    all_masks.append(mask)

        ctx.save_for_backward(queries, keys, values, *all_weights, *all_masks)
        ctx.layout = layout
        ctx.options = options
        ctx.one_query = one_query
        if options.dropout:
            outputs.div_(options.kept_share)
        if one_query:
            return outputs.view_as(query)
        return layout.collect(outputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        layout: Layout = ctx.layout
        queries, keys, values, *saved = ctx.saved_tensors
        num_groups = len(layout.groups)
        all_weights = saved[:num_groups]
        all_masks = saved[num_groups:] or [None] * num_groups
        gradients = _slots_of_gradient(
            gradient, layout, ctx.options.kept_share, ctx.one_query
        )
        query_gradients = torch.empty_like(queries)
        key_gradients = torch.empty_like(keys)
        value_gradients = torch.empty_like(values)

        groups = zip(
            all_weights,
            all_masks,
            layout.split(gradients),
            layout.split(queries),
            layout.split(keys),
            layout.split(values),
            layout.split(query_gradients),
            layout.split(key_gradients),
            layout.split(value_gradients),
            strict=True,
        )
        for weights, mask, g, q, k, v, to_query, to_key, to_value in groups:
            kept_weights = weights  # [N * H, Q, L]
            to_weights = torch.bmm(g, v.transpose(1, 2))  # [N * H, Q, L]
            if mask is not None:
                keep = mask.to(weights.dtype)
                to_weights = to_weights.mul_(keep)
                kept_weights = keep.mul_(weights)
            torch.bmm(kept_weights.transpose(1, 2), g, out=to_value)
            to_products = torch._softmax_backward_data(
                to_weights, weights, -1, weights.dtype
            )
            torch.bmm(to_products, k, out=to_query)
            torch.bmm(to_products.transpose(1, 2), q, out=to_key)

        query_gradients.mul_(ctx.options.scale)
        if ctx.one_query:
            head_size = queries.shape[-1]
            query_gradient = query_gradients.view(-1, layout.num_heads, head_size)
        else:
            query_gradient = layout.collect(query_gradients)
        key_gradient = layout.collect(key_gradients)
        value_gradient = layout.collect(value_gradients)
        return query_gradient, key_gradient, value_gradient, None, None


def _scaled_queries(
    query: Tensor, layout: Layout, scale: float, one_query: bool
) -> Tensor:
    """Returns scaled queries as slots [S, D], or [R * H, D] for one query per text."""
    if one_query:
        return query.reshape(-1, query.shape[-1]) * scale
    return layout.spread(query).mul_(scale)


def _slots_of_gradient(
    gradient: Tensor, layout: Layout, kept_share: float, one_query: bool
) -> Tensor:
    """Returns the gradient of the kept outputs, with the shape of the queries.

    The gradient of an empty slot is 0.
    """
    if one_query:
        return gradient.reshape(-1, gradient.shape[-1]) / kept_share
    slots = layout.spread(gradient)
    slots.index_fill_(0, layout.empty_slots, 0)
    return slots.div_(kept_share)


def _weights(
    q: Tensor, k: Tensor, padding: Tensor | None, window: int | None
) -> Tensor:
    """Computes the attention weights of one group, [N * H, Q, L].

    Args:
        q: scaled queries, [N * H, Q, D].
        k: keys, [N * H, L, D].
        padding: see `Layout`.
        window: see `attention.attend`.
    """
    products = torch.bmm(q, k.transpose(1, 2))  # [N * H, Q, L]
    length = products.shape[2]
    if padding is not None:
        _hide_empty_slots(products, padding)
    if window is not None and length > window:
        _hide_distant_tokens(products, window)
    return torch.softmax(products, -1, out=products)


def _hide_empty_slots(products: Tensor, padding: Tensor) -> None:
    """Lowers the products of keys that are empty slots, in place.

    The lowered value is finite because the query of an empty slot may see no token.
    """
    num_texts = len(padding)
    num_queries, length = products.shape[1:]
    lowest = torch.finfo(products.dtype).min / 2
    by_text = products.view(num_texts, -1, num_queries, length)  # [N, H, Q, L]
    by_text.add_(padding.to(products.dtype), alpha=lowest)


def _hide_distant_tokens(products: Tensor, window: int) -> None:
    """Excludes keys that lie `window` or more positions away, in place."""
    num_queries, length = products.shape[1:]
    positions = torch.arange(length, device=products.device)  # [L]
    distances = positions[:num_queries, None] - positions  # [Q, L]
    is_distant = distances.abs() >= window
    products.masked_fill_(is_distant, -math.inf)
