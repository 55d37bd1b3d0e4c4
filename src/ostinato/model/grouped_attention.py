"""Attention of groups of texts as batched products, with its own backward pass.

On a CPU this is faster than `scaled_dot_product_attention` at the lengths of texts,
above all with dropout. `layout` explains the letters of the shapes.
"""

from typing import Any

import torch
from torch import Tensor

from ostinato.data.collate import Segments
from ostinato.model.attention_weights import (
    Options,
    attention_weights,
    mix_values,
    through_softcap,
    through_weights,
)
from ostinato.model.dropout import Masks
from ostinato.model.layout import Layout, layout_of


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
    causal: bool = False,
    softcap: float | None = None,
) -> Tensor:
    """Computes what `attention.attend` documents, on any device in any precision."""
    options = Options(scale, dropout, masks, window, causal, softcap)
    layouts = []
    for states in (query, key):
        num_heads = states.shape[1]
        layout = layout_of(segments.lengths, segments.filler, num_heads, key.device)
        layouts.append(layout)
    output: Tensor = _GroupedAttention.apply(  # type: ignore[no-untyped-call]
        query, key, value, *layouts, options
    )
    return output


class _GroupedAttention(torch.autograd.Function):
    """Softmax attention over a layout.

    Query heads that share a key head are rows of the same product: their queries
    follow each other, so the keys need no copy for each query head.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        query_layout: Layout,
        layout: Layout,
        options: Options,
    ) -> Tensor:
        one_query = len(query) != len(key)
        queries = _scaled_queries(query, query_layout, options.scale, one_query)
        keys = layout.spread(key)  # [S, D]
        values = layout.spread(value)  # [S, D]
        outputs = torch.empty_like(queries)

        needs_gradient = any(ctx.needs_input_grad)
        all_weights: list[Tensor] = []
        all_masks: list[Tensor] = []
        groups = zip(
            layout.padding,
            query_layout.split(queries, layout.num_heads),
            layout.split(keys),
            layout.split(values),
            query_layout.split(outputs, layout.num_heads),
            strict=True,
        )
        with torch.autocast(query.device.type, enabled=False):
            for padding, q, k, v, output in groups:
                weights = attention_weights(q, k, padding, options, one_query)
                mask = mix_values(weights, v, options, output)
                if needs_gradient:
                    all_weights.append(weights)
                if needs_gradient and mask is not None:
                    all_masks.append(mask)

        ctx.save_for_backward(queries, keys, values, *all_weights, *all_masks)
        ctx.query_layout = query_layout
        ctx.layout = layout
        ctx.options = options
        ctx.one_query = one_query
        if options.dropout:
            outputs.div_(options.kept_share)
        if one_query:
            return outputs.view_as(query)
        return query_layout.collect(outputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query_layout, layout, options = ctx.query_layout, ctx.layout, ctx.options
        queries, keys, values, *saved = ctx.saved_tensors
        num_groups = len(layout.groups)
        all_weights = saved[:num_groups]
        all_masks = saved[num_groups:] or [None] * num_groups
        gradients = _slots_of_gradient(
            gradient, query_layout, options.kept_share, ctx.one_query
        )
        query_gradients = torch.empty_like(queries)
        key_gradients = torch.empty_like(keys)
        value_gradients = torch.empty_like(values)

        groups = zip(
            all_weights,
            all_masks,
            query_layout.split(gradients, layout.num_heads),
            query_layout.split(queries, layout.num_heads),
            layout.split(keys),
            layout.split(values),
            query_layout.split(query_gradients, layout.num_heads),
            layout.split(key_gradients),
            layout.split(value_gradients),
            strict=True,
        )
        for weights, mask, g, q, k, v, to_query, to_key, to_value in groups:
            to_products = through_weights(g, v, weights, mask, to_value)
            if options.softcap is not None:
                through_softcap(to_products, q, k, options.softcap)
            torch.bmm(to_products, k, out=to_query)
            torch.bmm(to_products.transpose(1, 2), q, out=to_key)

        query_gradients.mul_(options.scale)
        if ctx.one_query:
            shape = (-1, query_layout.num_heads, queries.shape[-1])
            query_gradient = query_gradients.view(shape)
        else:
            query_gradient = query_layout.collect(query_gradients)
        others = layout.collect(key_gradients), layout.collect(value_gradients)
        return query_gradient, *others, None, None, None


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
