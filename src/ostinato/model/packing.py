"""Runs an encoder on packed batches: one row of real tokens, text after text.

Packing changes no weight and no result. Linear layers never see padding, attention
stays within each text, and the head reads the first token (or the mean) of each text.
In encoders built like BERT, the last layer computes only what the head reads.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ostinato.data.collate import Segments
from ostinato.model.attention import attend
from ostinato.model.dropout import Masks
from ostinato.model.families import PACKABLE

_NAME = "ostinato_packed"


def can_pack(model: PreTrainedModel) -> bool:
    """Whether the architecture may run on packed batches; others need padding."""
    return model.config.model_type in PACKABLE


def is_packed(model: PreTrainedModel) -> bool:
    """Whether the classifier runs on packed batches now."""
    return _NAME in model.__dict__


def pack(model: PreTrainedModel, masks: Masks) -> None:
    """Changes a classifier in place so that it accepts packed batches only.

    Args:
        model: a classifier of a family that `can_pack` accepts.
        masks: source of the dropout masks of attention weights.
    """
    unpack(model)
    model.__dict__[_NAME] = _Packing(model, masks)


def unpack(model: PreTrainedModel) -> None:
    """Changes a packed classifier back so that it accepts padded batches."""
    packing = model.__dict__.pop(_NAME, None)
    if packing is not None:
        packing.undo(model)


class _Packing:
    """The hooks of one packed model and the current batch, which they share.

    Args:
        model: the classifier; gets the hooks and the packed attention.
        masks: source of the dropout masks of attention weights.

    Attributes:
        masks: see Args.
        segments: positions of the texts in the current batch.
        last_attention: attention module of a trimmed last layer; None without one.
    """

    def __init__(self, model: PreTrainedModel, masks: Masks) -> None:
        self.masks = masks
        self.segments: Segments
        self.last_attention: nn.Module | None = None
        self._base = model.base_model
        self._original_attention = model.config._attn_implementation
        self._by_mean = getattr(model.config, "classifier_pooling", "cls") == "mean"
        self._hooks: list[Any] = []
        self._trim_last_layer()
        begin = model.register_forward_pre_hook(self._begin, with_kwargs=True)
        pool = self._base.register_forward_hook(self._pool)
        self._hooks += [begin, pool]
        model.set_attn_implementation(_NAME)

    def undo(self, model: PreTrainedModel) -> None:
        """Removes the hooks and restores the attention implementation."""
        for hook in self._hooks:
            hook.remove()
        model.set_attn_implementation(self._original_attention)

    def _trim_last_layer(self) -> None:
        """Makes BERT's last layer compute only first tokens after its attention.

        The head reads no other token.
        """
        encoder = getattr(self._base, "encoder", None)
        layers = getattr(encoder, "layer", None)
        if layers is None:
            return
        attention = layers[-1].attention
        hook = attention.output.register_forward_pre_hook(self._select_first_tokens)
        self._hooks.append(hook)
        self.last_attention = attention.self

    def _begin(
        self, model: nn.Module, args: Any, kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        self.segments = kwargs["segments"]
        return args, kwargs | {"packing": self}

    def _select_first_tokens(
        self, module: nn.Module, args: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        starts = self.segments.starts
        return tuple(hidden.index_select(1, starts) for hidden in args)

    def _pool(self, base: nn.Module, args: Any, output: Any) -> Any:
        """Turns the row into [num_texts, 1, hidden_size]: texts of one token."""
        hidden = output.last_hidden_state[0]  # [num_tokens, hidden_size]
        if self._by_mean:
            hidden = self._means(hidden)
        elif self.last_attention is None:
            hidden = hidden.index_select(0, self.segments.starts)
        output.last_hidden_state = hidden.unsqueeze(1)
        pooler = getattr(base, "pooler", None)
        if pooler is not None:
            output.pooler_output = pooler(output.last_hidden_state)
        return output

    def _means(self, hidden: Tensor) -> Tensor:
        """Averages the tokens of each text, [num_texts, hidden_size]."""
        lengths = self.segments.bounds.diff()  # [num_texts + 1]; the last is the filler
        texts = torch.arange(len(lengths), device=hidden.device)
        text = torch.repeat_interleave(texts, lengths, output_size=len(hidden))
        zeros = hidden.new_zeros(len(lengths), hidden.shape[1])
        sums = zeros.index_add(0, text, hidden)
        return sums[:-1] / lengths[:-1, None]


def _packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    scaling: float,
    packing: _Packing,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention with the signature that transformers calls.

    Args:
        module: the attention module that calls.
        query: [1, num_heads, num_tokens, head_size]; `key` and `value` too.
        key: see `query`.
        value: see `query`.
        attention_mask: always None for packed batches.
        scaling: factor of the products before the softmax.
        packing: holds the current batch.
        dropout: probability that an attention weight is dropped.
        sliding_window: see `window` of `attend`.

    Returns:
        The output [1, num_tokens, num_heads, head_size], and None for the weights.
    """
    segments = packing.segments
    options = (segments, scaling, dropout, packing.masks, sliding_window)
    q = _by_token(query)
    k = _by_token(key)
    v = _by_token(value)
    if module is not packing.last_attention:
        return attend(q, k, v, *options).unsqueeze(0), None
    first_queries = q.index_select(0, segments.starts)
    first_outputs = attend(first_queries, k, v, *options)
    outputs = torch.zeros_like(q).index_copy(0, segments.starts, first_outputs)
    return outputs.unsqueeze(0), None


def _by_token(states: Tensor) -> Tensor:
    """Views [1, num_heads, num_tokens, head_size] as [num_tokens, num_heads, ...].

    `states[0]` would need a copy in the backward pass.
    """
    return states.squeeze(0).transpose(0, 1)


ALL_ATTENTION_FUNCTIONS.register(_NAME, _packed_attention)
AttentionMaskInterface.register(_NAME, lambda *_, **__: None)
