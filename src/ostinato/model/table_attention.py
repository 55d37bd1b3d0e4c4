"""Attention with tables of relative positions, with its own backward pass.

The product of a query and a key whose positions differ by r (query minus key) is

    query . key + query . key_table[r] + query_table[r] . key + bias_table[r]

`layout` explains the letters of the shapes, `position_tables` what a table is.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ostinato.data.collate import Segments
from ostinato.model.attention_weights import (
    Options,
    hide_empty_slots,
    mix_values,
    through_weights,
)
from ostinato.model.dropout import Masks
from ostinato.model.layout import Layout, layout_of
from ostinato.model.position_tables import (
    biases,
    by_head,
    through_biases,
    through_table,
    times_table,
)

_Table = Tensor | None


class _Tables(NamedTuple):
    """Tables of relative positions, as in `position_tables`; None for what is absent.

    Attributes:
        c2p: keys (content to position), from the highest position, [H, 2 * M - 1, D].
        p2c: scaled queries (position to content), from the lowest position.
        bias: biases, from the highest position, [H, 2 * M - 1].
    """

    c2p: _Table
    p2c: _Table
    bias: _Table


# If this were compiled, it would be compiled again for the lengths of each batch.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def attend_with_tables(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    tables: tuple[_Table, _Table, _Table],
    segments: Segments,
    scale: float,
    dropout: float,
    masks: Masks,
) -> Tensor:
    """Computes the attention of each text to itself.

    Args:
        query: [T, H, D].
        key: [T, H, D].
        value: [T, H, D].
        tables: rows for the relative positions 1 - M to M - 1: keys and queries
            [2 * M - 1, H, D], and biases [2 * M - 1, H]. At least one of them.
        segments: positions of the texts in the row; M is `longest`.
        scale: factor of the products before the softmax, except for the biases.
        dropout: probability that an attention weight is dropped.
        masks: source of the dropout masks.

    Returns:
        The attention output, [T, H, D].
    """
    layout = layout_of(
        segments.lengths, segments.filler, key.shape[1], key.device, heads_first=True
    )
    options = Options(scale, dropout, masks, None, False, None)
    output: Tensor = _TableAttention.apply(  # type: ignore[no-untyped-call]
        query, key, value, *tables, layout, options
    )
    return output


class _TableAttention(torch.autograd.Function):
    """Softmax attention over a layout, with at least one table.

    The queries and the query table are scaled, so all three products are.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_table: _Table,
        query_table: _Table,
        bias_table: _Table,
        layout: Layout,
        options: Options,
    ) -> Tensor:
        queries = layout.spread(query).mul_(options.scale)
        keys = layout.spread(key)  # [S, D]
        values = layout.spread(value)  # [S, D]
        outputs = torch.empty_like(queries)
        # In a row of products, r falls from one key to the next.
        tables = _Tables(
            None if key_table is None else by_head(key_table.flip(0)),
            None if query_table is None else by_head(query_table * options.scale),
            None if bias_table is None else by_head(bias_table.flip(0)),
        )

        needs_gradient = any(ctx.needs_input_grad)
        all_weights: list[Tensor] = []
        all_masks: list[Tensor] = []
        slots = (queries, keys, values, outputs)
        groups = zip(layout.padding, *map(layout.split, slots), strict=True)
        with torch.autocast(query.device.type, enabled=False):
            for padding, q, k, v, output in groups:
                weights = _weights(q, k, tables, padding)
                mask = mix_values(weights, v, options, output)
                if needs_gradient:
                    all_weights.append(weights)
                if needs_gradient and mask is not None:
                    all_masks.append(mask)
        ctx.save_for_backward(queries, keys, values, *tables, *all_weights, *all_masks)
        ctx.layout = layout
        ctx.options = options
        if options.dropout:
            outputs.div_(options.kept_share)
        return layout.collect(outputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        layout, options = ctx.layout, ctx.options
        queries, keys, values, c2p, p2c, bias, *saved = ctx.saved_tensors
        num_groups = len(layout.groups)
        all_masks = saved[num_groups:] or [None] * num_groups
        gradients = layout.spread(gradient)
        gradients.index_fill_(0, layout.empty_slots, 0).div_(options.kept_share)
        to_slots = [torch.empty_like(slots) for slots in (queries, keys, values)]
        to_c2p, to_p2c, to_bias = (_zeros(table) for table in (c2p, p2c, bias))

        slots = (gradients, queries, keys, values, *to_slots)
        groups = zip(
            saved[:num_groups], all_masks, *map(layout.split, slots), strict=True
        )
        for weights, mask, g, q, k, v, to_query, to_key, to_value in groups:
            to_products = through_weights(g, v, weights, mask, to_value)
            transposed = to_products.transpose(1, 2)
            torch.bmm(to_products, k, out=to_query)
            torch.bmm(transposed, q, out=to_key)
            if to_c2p is not None:
                through_table(to_products, q, c2p, to_query, to_c2p)
            if to_p2c is not None:
                through_table(transposed, k, p2c, to_key, to_p2c)
            if to_bias is not None:
                through_biases(to_products, to_bias)

        to_slots[0].mul_(options.scale)
        to_states = [layout.collect(slots) for slots in to_slots]
        to_tables = [
            None if to_c2p is None else to_c2p.transpose(0, 1).flip(0),
            None if to_p2c is None else to_p2c.transpose(0, 1) * options.scale,
            None if to_bias is None else to_bias.transpose(0, 1).flip(0),
        ]
        return *to_states, *to_tables, None, None


def _zeros(table: _Table) -> _Table:
    if table is None:
        return None
    return torch.zeros_like(
        table, dtype=torch.promote_types(table.dtype, torch.float32)
    )


def _weights(q: Tensor, k: Tensor, tables: _Tables, padding: Tensor | None) -> Tensor:
    """Computes the attention weights of one group, [H * N, L, L].

    Args:
        q: scaled queries, [H * N, L, D].
        k: keys, [H * N, L, D].
        tables: see `_Tables`.
        padding: see `Layout`.
    """
    length = q.shape[1]
    keys = k.transpose(1, 2)
    if tables.c2p is None:
        products = torch.bmm(q, keys)
    else:
        products = torch.baddbmm(times_table(q, tables.c2p), q, keys)
    if tables.p2c is not None:
        products.add_(times_table(k, tables.p2c).transpose(1, 2))
    if tables.bias is not None:
        by_head_and_text = products.view(len(tables.bias), -1, length, length)
        by_head_and_text.add_(biases(tables.bias, length).unsqueeze(1))
    if padding is not None:
        by_head = products.view(-1, len(padding), length, length)
        hide_empty_slots(by_head, padding.squeeze(1))
    return torch.softmax(products, -1, out=products)
