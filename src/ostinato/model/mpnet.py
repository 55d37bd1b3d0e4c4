"""The packed attention of MPNet, whose products have a bias for each position.

MPNet does not use the attention interface of transformers. So the attention modules of
a packed model get another `forward`. Their parameters stay as they are.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from ostinato.model.own_methods import OwnMethod
from ostinato.model.packed_attention import PackedRow, PackingError
from ostinato.model.table_attention import attend_with_tables


def replace_attention(encoder: Any, row: PackedRow) -> list[Any]:
    """Makes the layers of an encoder compute the attention of a packed row.

    Args:
        encoder: changed in place.
        row: the current batch.

    Returns:
        Objects whose method `remove` restores the encoder.
    """
    bias = partial(_position_bias, row=row)
    attention = partial(_attention, row=row)
    methods = [OwnMethod(encoder, "compute_position_bias", bias)]
    for layer in encoder.layer:
        methods += [OwnMethod(layer.attention.attn, "forward", attention)]
    return methods


# If this were compiled, it would be compiled again for the lengths of each batch.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def _position_bias(encoder: Any, hidden: Tensor, row: PackedRow) -> Tensor:
    """Biases of the relative positions 1 - M to M - 1, [2 * M - 1, H]."""
    longest = row.segments.longest
    positions = torch.arange(1 - longest, longest, device=hidden.device)
    # MPNet subtracts the position of the query from that of the key.
    buckets = encoder.relative_position_bucket(-positions)
    table: Tensor = encoder.relative_attention_bias(buckets)
    return table


def _attention(
    module: Any,
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    position_bias: Tensor | None = None,
    output_attentions: bool = False,
    *,
    row: PackedRow,
) -> tuple[Tensor]:
    """`forward` of `MPNetSelfAttention` for a packed row."""
    if position_bias is None or output_attentions:
        raise PackingError("its attention has unknown arguments")
    row.count_call()
    hidden = hidden_states.squeeze(0)
    shape = (len(hidden), module.num_attention_heads, -1)
    query, key, value = (
        project(hidden).view(shape) for project in (module.q, module.k, module.v)
    )
    output = attend_with_tables(
        query,
        key,
        value,
        (None, None, position_bias.to(value.dtype)),
        row.segments,
        key.shape[-1] ** -0.5,
        module.dropout.p if module.training else 0.0,
        row.masks,
    )
    return (module.o(output.view(1, len(hidden), -1)),)
