"""Disentangled attention (DeBERTa) of all tokens of a packed row, or of first tokens.

`layout` explains the letters of the shapes, `table_attention` the products.
"""

import torch
from torch import Tensor

from ostinato.data.collate import Segments
from ostinato.model.attention import attend
from ostinato.model.dropout import Masks
from ostinato.model.layout import text_of_token
from ostinato.model.table_attention import attend_with_tables

_Table = Tensor | None


def attend_disentangled(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_table: _Table,
    query_table: _Table,
    segments: Segments,
    scale: float,
    dropout: float,
    masks: Masks,
) -> Tensor:
    """Computes the disentangled attention of each text to itself.

    Args:
        query: [T, H, D], or [R, H, D] for the first token of each text.
        key: [T, H, D].
        value: [T, H, D].
        key_table: keys of the relative positions 1 - M to M - 1, [2 * M - 1, H, D],
            with `segments.longest` as M; None without content-to-position attention.
        query_table: queries of these positions, for position-to-content attention.
        segments: positions of the texts in the row.
        scale: factor of the products before the softmax.
        dropout: probability that an attention weight is dropped.
        masks: source of the dropout masks.

    Returns:
        The attention output, with the shape of `query`.
    """
    if len(query) != len(key):
        query, key, value = _first_tokens(
            query, key, value, key_table, query_table, segments
        )
        output = attend(query, key, value, segments, scale, dropout, masks)
        head_size = output.shape[-1] - (query_table is not None)
        return output[..., :head_size]
    if key_table is None and query_table is None:
        return attend(query, key, value, segments, scale, dropout, masks)
    tables = (key_table, query_table, None)
    whole: Tensor = attend_with_tables(
        query, key, value, tables, segments, scale, dropout, masks
    )
    return whole


def _first_tokens(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_table: _Table,
    query_table: _Table,
    segments: Segments,
) -> tuple[Tensor, Tensor, Tensor]:
    """Rewrites the attention of first tokens as plain attention.

    All queries have position 0, so each key has one relative position. Its row of the
    key table is added to the key. Its product with the query table becomes one more
    element of the key, which meets a 1 in the query.
    """
    text = text_of_token(segments, len(key))
    positions = torch.arange(len(key), device=key.device) - segments.bounds[text]
    rows = segments.longest - 1 - positions
    keys = key
    if key_table is not None:
        keys = key + key_table.index_select(0, rows)
    if query_table is not None:
        products = key * query_table.index_select(0, rows)
        keys = torch.cat([keys, products.sum(-1, keepdim=True)], -1)
        query = torch.nn.functional.pad(query, (0, 1), value=1.0)
        value = torch.nn.functional.pad(value, (0, 1))
    return query, keys, value
