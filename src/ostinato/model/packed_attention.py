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
        num_tokens: tokens of the current batch, filler included; set for decoders.
        trimmed: attention module that computes one token of each text only.
        num_calls: calls of attention; counted in a trial only.
        is_trial: whether this is a comparison before the run.
    """

    masks: Masks
    segments: Segments = field(init=False)
    num_tokens: int = 0
    trimmed: nn.Module | None = None
    num_calls: int = 0
    is_trial: bool = False

    def count_call(self) -> None:
        """Counts a call of attention in a trial."""
        if self.is_trial:
            self.num_calls += 1


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
    """`attend` with the signature that transformers calls.

    Args:
        module: calls this function.
        query: [1, num_heads, num_tokens, head_size].
        key: as `query`, with the same number of heads or fewer.
        value: as `key`.
        attention_mask: see `_asked_mask`; None if the model makes no mask.
        scaling: factor of the products before the softmax; None for the usual one.
        packing: the current batch; None if the layers do not pass it on.
        dropout: of `attend`, as `softcap`; `sliding_window` is its `window`.
        sliding_window: see `dropout`.
        is_causal: None if the module decides.
        softcap: see `dropout`.
        **others: arguments that must change no output.

    Returns:
        The output [1, num_tokens, num_heads, head_size], and None for the weights.

    Raises:
        PackingError: the model asks for another attention.
    """
    if packing is None:
        raise PackingError("its layers do not pass arguments on to the attention")
    causal = _causal(module, is_causal)
    _check_mask(attention_mask, sliding_window, causal)
    _check_others(others)
    packing.count_call()
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    q, k, v = _by_token(query, key, value)
    options = (scaling, dropout, packing.masks, sliding_window, causal, softcap)
    # `attend` has no windows for the last token alone.
    is_whole = module is not packing.trimmed or (causal and sliding_window is not None)
    compute = attend if is_whole else _attend_one_token
    return compute(q, k, v, packing.segments, *options).unsqueeze(0), None


def _attend_one_token(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    segments: Segments,
    scale: float,
    dropout: float,
    masks: Masks | None,
    window: int | None,
    causal: bool,
    softcap: float | None,
) -> Tensor:
    """Attention of the token that the head reads; zero for the other tokens."""
    tokens = segments.ends if causal else segments.starts
    few_queries = q.index_select(0, tokens)
    few_outputs = attend(
        few_queries, k, v, segments, scale, dropout, masks, window, causal, softcap
    )
    return torch.zeros_like(q).index_copy(0, tokens, few_outputs)


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
