"""The attention function that transformers calls in a packed model.

It computes exactly what the model asks for, or raises `PackingError`.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.masking_utils import AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ostinato.data.collate import Segments
from ostinato.model.attention import attend
from ostinato.model.dropout import Masks

NAME = "ostinato_packed"

# Arguments that change no output of attention.
_HARMLESS = frozenset(
    (
        *("deterministic", "output_attentions", "output_hidden_states"),
        *("position_ids", "segments", "token_type_ids", "use_cache"),
    )
)


class PackingError(Exception):
    """The model needs something that packed batches do not have."""


class AskedMask(NamedTuple):
    """The mask that a model asks for, which its layers pass on to the attention.

    Attributes:
        window: size of a sliding window, as in the config; None without one.
        is_custom: whether the model changes the pattern of the mask itself.
    """

    window: int | None
    is_custom: bool


@dataclass(eq=False)
class PackedRow:
    """What the attention layers of a packed model share.

    Attributes:
        masks: source of the dropout masks of attention weights.
        segments: positions of the texts in the current batch.
        trimmed: attention module that computes one token of each text only.
        num_calls: calls of attention; counted in a trial only.
        is_trial: whether this is a comparison before the run.
    """

    masks: Masks
    segments: Segments = field(init=False)
    trimmed: nn.Module | None = None
    num_calls: int = 0
    is_trial: bool = False


def _asked_mask(
    *_: Any, local_size: int | None = None, use_vmap: bool = False, **__: Any
) -> AskedMask:
    """Replaces the mask by a description; transformers' masks see no texts."""
    return AskedMask(local_size, use_vmap)


def _packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: AskedMask | None,
    scaling: float | None = None,
    *,
    packing: PackedRow | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention with the signature that transformers calls.

    Args:
        module: the attention module that calls.
        query: [1, num_heads, num_tokens, head_size]; `key` and `value` too, which may
            have fewer heads.
        key: see `query`.
        value: see `query`.
        attention_mask: see `_asked_mask`; None if the model makes no mask.
        scaling: factor of the products before the softmax; None for the usual one.
        packing: holds the current batch; None if the layers do not pass it on.
        dropout: probability that an attention weight is dropped.
        sliding_window: see `window` of `attend`.
        is_causal: None if the module decides.
        softcap: see `attend`.
        **others: arguments that must change no output.

    Returns:
        The output [1, num_tokens, num_heads, head_size], and None for the weights.

    Raises:
        PackingError: the attention would differ from what the model asks for.
    """
    if packing is None:
        raise PackingError("its layers do not pass arguments on to the attention")
    causal = _causal(module, is_causal)
    _check_mask(attention_mask, sliding_window, causal)
    _check_others(others)
    if packing.is_trial:
        packing.num_calls += 1
    if scaling is None:
        scaling = query.shape[-1] ** -0.5
    segments = packing.segments
    q, k, v = _by_token(query, key, value)
    options = (segments, scaling, dropout, packing.masks, sliding_window)
    if module is not packing.trimmed:
        return attend(q, k, v, *options, causal, softcap).unsqueeze(0), None
    tokens = segments.ends if causal else segments.starts
    few_queries = q.index_select(0, tokens)
    few_outputs = attend(few_queries, k, v, *options, causal, softcap)
    outputs = torch.zeros_like(q).index_copy(0, tokens, few_outputs)
    return outputs.unsqueeze(0), None


def _causal(module: nn.Module, passed: bool | None) -> bool:
    if passed is not None:
        return passed
    return bool(getattr(module, "is_causal", False))


def _check_mask(mask: Any, window: int | None, causal: bool) -> None:
    """Refuses a mask that is not the one of `attend` for these arguments."""
    if mask is None:
        return
    if not isinstance(mask, AskedMask) or mask.is_custom:
        raise PackingError("its attention has a mask of its own")
    # transformers' causal windows count the token itself, the others do not.
    asked = mask.window
    if asked is not None and not causal:
        asked += 1
    if asked != window:
        raise PackingError(
            f"its layers attend to {window} tokens, but its masks show {asked}"
        )


def _check_others(others: dict[str, Any]) -> None:
    """Refuses arguments that may change the output, as sinks and position biases do."""
    for name, value in others.items():
        if value is not None and name not in _HARMLESS:
            raise PackingError(f"its attention has an unknown argument, {name}")


def _by_token(*states: Tensor) -> list[Tensor]:
    """Views [1, num_heads, num_tokens, head_size] as [num_tokens, num_heads, ...].

    `states[0]` would need a copy in the backward pass. All get the precision of the
    values: under autocast, rotary positions turn queries and keys into fp32.
    """
    dtype = states[-1].dtype
    return [state.squeeze(0).transpose(0, 1).to(dtype) for state in states]


ALL_ATTENTION_FUNCTIONS.register(NAME, _packed_attention)
AttentionMaskInterface.register(NAME, _asked_mask)
