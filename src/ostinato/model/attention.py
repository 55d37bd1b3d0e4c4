"""Attention within the texts of a packed row.

Shapes: T tokens of the row (filler included), R texts, H heads, D head size. A query
tensor has one row per token (T), or one row per text (R): for its first token, or for
its last token if attention is causal.
"""

import torch
from torch import Tensor

from ostinato.data.collate import Segments
from ostinato.model.dropout import Masks
from ostinato.model.grouped_attention import attend_in_groups


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: Segments,
    scale: float,
    dropout: float = 0.0,
    masks: Masks | None = None,
    window: int | None = None,
    causal: bool = False,
    softcap: float | None = None,
) -> Tensor:
    """Computes softmax attention of each text to itself.

    Args:
        query: [T, H, D], or [R, H, D] for one token of each text.
        key: [T, K, D]; each of the K heads belongs to H / K neighbouring query heads.
        value: [T, K, D].
        segments: positions of the texts in the row.
        scale: factor of the products before the softmax.
        dropout: probability that an attention weight is dropped.
        masks: source of the dropout masks; required with dropout.
        window: a token attends to tokens less than this many positions away;
            None for all tokens of its text. Not with causal attention of one token.
        causal: a token attends to itself and the tokens before it only.
        softcap: products before the softmax become `softcap * tanh(x / softcap)`.

    Returns:
        The attention output, with the shape of `query`.
    """
    one_query = len(query) != len(key)
    assert not (one_query and causal and window is not None)
    # The flash kernel would align a single query with the end of its text.
    windowed_first_tokens = window is not None and one_query
    if _has_kernel(query) and softcap is None and not windowed_first_tokens:
        return _flash(query, key, value, segments, scale, dropout, window, causal)
    output: Tensor = attend_in_groups(
        query, key, value, segments, scale, dropout, masks, window, causal, softcap
    )
    return output


def _has_kernel(query: Tensor) -> bool:
    """Whether the device has flash attention of variable length for this query.

    NVIDIA GPUs since Ampere have it, in half precision, for head sizes 8, 16, ..., 256.
    """
    if not query.is_cuda:
        return False
    if query.dtype not in (torch.float16, torch.bfloat16):
        return False
    if query.shape[-1] % 8 != 0 or query.shape[-1] > 256:
        return False
    properties = torch.cuda.get_device_properties(query.device)
    return properties.major >= 8


def _flash(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: Segments,
    scale: float,
    dropout: float,
    window: int | None,
    causal: bool,
) -> Tensor:
    """Calls the kernel of `torch.nn.attention.varlen`, which itself offers no dropout.

    The filler counts as one more text because the kernel does not write the memory
    outside of texts, neither outputs nor gradients. With first tokens only, this text
    has no query. A causal kernel aligns the single query with the end of its text,
    which is the token that it belongs to. The backward pass is deterministic under
    `torch.use_deterministic_algorithms`.
    """
    query_bounds = segments.bounds  # [R + 2]
    longest_query = segments.longest
    num_queries = len(query)
    if num_queries != len(key):
        bounds = torch.arange(num_queries + 2, dtype=torch.int32, device=query.device)
        query_bounds = bounds.clamp(max=num_queries)
        longest_query = 1
    reach = -1 if window is None else window - 1
    outputs = torch.ops.aten._flash_attention_forward(
        query,
        key,
        value,
        query_bounds,
        segments.bounds,
        longest_query,
        segments.longest,
        dropout,
        causal,
        False,  # return_debug_mask
        scale=scale,
        window_size_left=reach,
        window_size_right=0 if causal else reach,
    )
    output: Tensor = outputs[0]
    return output
