"""The packed attention of DeBERTa v1, v2 and v3.

DeBERTa does not use the attention interface of transformers. So the attention modules
of a packed model get another `forward`. Their parameters stay as they are.
"""

from functools import lru_cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

from ostinato.model.disentangled_attention import attend_disentangled
from ostinato.model.layout import text_of_token
from ostinato.model.own_methods import OwnMethod
from ostinato.model.packed_attention import PackedRow, PackingError


def replace_attention(encoder: Any, row: PackedRow) -> list[Any]:
    """Makes the layers of an encoder compute the attention of a packed row.

    Args:
        encoder: changed in place.
        row: the current batch.

    Returns:
        Objects whose method `remove` restores the encoder.
    """

    def enter(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """Replaces the relative positions in the row, which would be [1, T, T]."""
        return args, kwargs | {"relative_pos": row}

    hooks: list[Any] = [encoder.register_forward_pre_hook(enter, with_kwargs=True)]
    for layer in encoder.layer:
        hooks += [OwnMethod(layer.attention.self, "forward", _attention)]
    conv = getattr(encoder, "conv", None)
    if conv is not None:
        hooks.append(OwnMethod(conv, "forward", partial(_convolution, row=row)))
    return hooks


def _attention(
    module: Any,
    hidden_states: Tensor,
    attention_mask: Tensor,
    output_attentions: bool = False,
    query_states: Tensor | None = None,
    relative_pos: PackedRow | None = None,
    rel_embeddings: Tensor | None = None,
) -> tuple[Tensor, None]:
    """`forward` of `DisentangledSelfAttention` with a packed row as `relative_pos`."""
    if relative_pos is None or query_states is not None or output_attentions:
        raise PackingError("its attention has unknown arguments")
    if getattr(module, "talking_head", False):
        raise PackingError("its attention has talking heads")
    relative_pos.count_call()
    project = _project if hasattr(module, "in_proj") else _project_v2
    states = project(module, hidden_states.squeeze(0))
    output = _attend(module, states, rel_embeddings, relative_pos)
    return output.view(1, -1, module.all_head_size), None


def _project(module: Any, hidden: Tensor) -> list[Tensor]:
    """Queries, keys and values [T, H, D] of DeBERTa v1."""
    num_heads = module.num_attention_heads
    together = module.in_proj(hidden).view(len(hidden), num_heads, -1)
    query, key, value = together.chunk(3, dim=-1)
    # Biases in fp32 would end autocast.
    query = query + module.q_bias.to(query.dtype).view(num_heads, -1)
    value = value + module.v_bias.to(value.dtype).view(num_heads, -1)
    return [query, key, value]


def _project_v2(module: Any, hidden: Tensor) -> list[Tensor]:
    """Queries, keys and values [T, H, D] of DeBERTa v2."""
    projections = (module.query_proj, module.key_proj, module.value_proj)
    shape = (len(hidden), module.num_attention_heads, -1)
    return [project(hidden).view(shape) for project in projections]


# If this were compiled, it would be compiled again for the lengths of each batch.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def _attend(
    module: Any, states: list[Tensor], rel_embeddings: Tensor | None, row: PackedRow
) -> Tensor:
    """Computes the attention of all tokens or of first tokens, [T, H, D]."""
    query, key, value = states
    key_table = query_table = None
    if module.relative_attention and rel_embeddings is not None:
        key_table, query_table = _tables(module, rel_embeddings, row.segments.longest)
    scale = (key.shape[-1] * _num_products(module)) ** -0.5
    dropout = module.dropout.p if module.training else 0.0
    is_trimmed = module is row.trimmed
    starts = row.segments.starts
    output = attend_disentangled(
        query.index_select(0, starts) if is_trimmed else query,
        key,
        value,
        key_table,
        query_table,
        row.segments,
        scale,
        dropout,
        row.masks,
    )
    if is_trimmed:
        return torch.zeros_like(query).index_copy(0, starts, output)
    return output


def _num_products(module: Any) -> int:
    """Number of products that a score is the sum of, also if one is not computed."""
    if hasattr(module, "in_proj"):
        return 1 + len(module.pos_att_type)
    return 1 + len({"c2p", "p2c"}.intersection(module.pos_att_type))


class _Rows(NamedTuple):
    """Rows of the table of relative positions that a batch needs.

    Attributes:
        first: the first of them.
        end: the last of them, plus one.
        of_distance: row minus `first` for each distance, from the lowest.
    """

    first: int
    end: int
    of_distance: Tensor


# Evaluation runs in inference mode, but training may save the same tensors.
@lru_cache(maxsize=2)
@torch.inference_mode(mode=False)
def _rows(
    longest: int, num_rows: int, buckets: int, max_distance: int, device: torch.device
) -> _Rows:
    """Finds the rows for distances of less than `longest` tokens.

    Args:
        longest: tokens of the longest text.
        num_rows: rows of the table; its middle is distance 0.
        buckets: number of buckets; larger distances share one.
        max_distance: distance from which all are in the last bucket.
        device: of the result.
    """
    distances = torch.arange(1 - longest, longest)
    if buckets > 0 and max_distance > 0:
        from transformers.models.deberta_v2 import modeling_deberta_v2

        distances = modeling_deberta_v2.make_log_bucket_position(
            distances, buckets, max_distance
        ).long()
    rows = (distances + num_rows // 2).clamp(0, num_rows - 1)
    first, end = int(rows[0]), int(rows[-1]) + 1
    return _Rows(first, end, (rows - first).to(device))


def _tables(
    module: Any, rel_embeddings: Tensor, longest: int
) -> tuple[Tensor | None, Tensor | None]:
    """Keys and queries of relative positions, [2 * longest - 1, H, D] each."""
    rows = _rows(
        longest,
        len(rel_embeddings),
        getattr(module, "position_buckets", -1),
        module.max_relative_positions,
        rel_embeddings.device,
    )
    embeddings = module.pos_dropout(rel_embeddings[rows.first : rows.end])
    names = ("pos_proj", "pos_q_proj")  # of v1
    if not hasattr(module, "in_proj"):
        names = ("pos_key_proj", "pos_query_proj")
        if module.share_att_key:
            names = ("key_proj", "query_proj")
    tables: list[Tensor | None] = []
    for kind, name in zip(("c2p", "p2c"), names, strict=True):
        if kind not in module.pos_att_type:
            tables.append(None)
            continue
        projected = getattr(module, name)(embeddings)
        table = projected.index_select(0, rows.of_distance)
        tables.append(table.view(len(table), module.num_attention_heads, -1))
    return tables[0], tables[1]


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _convolution(
    module: Any, hidden: Tensor, residual: Tensor, input_mask: Tensor, row: PackedRow
) -> Tensor:
    """`forward` of `ConvLayer` with zeros between the texts of a packed row."""
    num_tokens = hidden.shape[1]
    (gap,) = module.conv.padding
    text = text_of_token(row.segments, num_tokens)
    places = torch.arange(num_tokens, device=hidden.device) + gap * text
    num_places = num_tokens + gap * len(row.segments.lengths)
    zeros = hidden.new_zeros(1, num_places, hidden.shape[-1])
    spread = zeros.index_copy(1, places, hidden)
    convolved = module.conv(spread.transpose(1, 2)).transpose(1, 2)
    output = module.dropout(convolved.index_select(1, places))
    total = residual + ACT2FN[module.conv_act](output)
    normed: Tensor = module.LayerNorm(total).to(total)
    return normed
