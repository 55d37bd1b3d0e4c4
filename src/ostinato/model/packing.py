"""Runs a classifier on packed batches: one row of real tokens, text after text.

Packing changes no weight and no result. Linear layers never see padding, attention
stays within each text, and the head reads one token (or the mean) of each text: the
last one if attention is causal, otherwise the first one. In most architectures, the
last layer computes only what the head reads.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ostinato.data.collate import Segments
from ostinato.model.architecture import is_causal
from ostinato.model.dropout import Masks
from ostinato.model.layout import text_of_token
from ostinato.model.packed_attention import NAME, PackedRow
from ostinato.model.replaced_attention import replace_attention
from ostinato.model.trimming import trim_decoder, trim_encoder


def is_packed(model: PreTrainedModel) -> bool:
    """Whether the classifier runs on packed batches now."""
    return NAME in model.__dict__


def pack(model: PreTrainedModel, masks: Masks) -> None:
    """Changes a classifier in place so that it accepts packed batches only.

    Args:
        model: a classifier for which `packing_problem` finds no problem.
        masks: source of the dropout masks of attention weights.
    """
    unpack(model)
    model.__dict__[NAME] = _Packing(model, masks)


def unpack(model: PreTrainedModel) -> None:
    """Changes a packed classifier back so that it accepts padded batches."""
    packing = model.__dict__.pop(NAME, None)
    if packing is not None:
        packing.undo(model)


def packing_problem(
    model: PreTrainedModel, compare: Callable[[], str | None]
) -> str | None:
    """Explains why a packed classifier would not keep its logits.

    Short texts show whether a text sees its neighbours. What they cannot show (long
    windows, dropout, weak biases) is known from the calls of attention, because the
    packed attention refuses what it does not compute.

    Args:
        model: the classifier, packed.
        compare: compares packed texts with each text alone; returns a problem.

    Returns:
        The reason; None if packed batches may be used.
    """
    packing: _Packing = model.__dict__[NAME]
    if getattr(model.config, "token_dropout", False):  # ESM
        return "its embeddings depend on the mask tokens of the whole row"
    if not packing.has_attention(model):
        return "it does not use the attention interface of transformers"
    with packing.trial() as row:
        problem = compare()
    if problem is not None:
        return problem
    num_layers = getattr(model.config.get_text_config(), "num_hidden_layers", 1)
    if row.num_calls < num_layers:
        return f"only {row.num_calls} of {num_layers} layers call packed attention"
    return None


class _Packing:
    """The hooks of one packed model.

    Args:
        model: the classifier; gets the hooks and the packed attention.
        masks: source of the dropout masks of attention weights.
    """

    def __init__(self, model: PreTrainedModel, masks: Masks) -> None:
        self._row = PackedRow(masks)
        self._base: nn.Module = model.base_model
        self._original_attention = model.config._attn_implementation
        self._by_mean = getattr(model.config, "classifier_pooling", "cls") == "mean"
        self._by_last = is_causal(model)
        self._hooks: list[Any] = replace_attention(model, self._row)
        self._is_replaced = bool(self._hooks)
        if self._by_last:
            self._hooks += trim_decoder(model, self._row)
        elif not self._by_mean:
            self._hooks += trim_encoder(self._base, self._row)
        begin = model.register_forward_pre_hook(self._begin, with_kwargs=True)
        pool = self._pooled_module().register_forward_hook(self._pool)
        self._hooks += [begin, pool]
        if self._by_last:
            self._input_ids: Tensor
            enter = self._base.register_forward_pre_hook(
                self._enter_base, with_kwargs=True
            )
            self._hooks.append(enter)
        if not self._is_replaced:
            model.set_attn_implementation(NAME)

    def has_attention(self, model: PreTrainedModel) -> bool:
        """Whether the layers call the packed attention, as far as the config shows."""
        return self._is_replaced or model.config._attn_implementation == NAME

    def undo(self, model: PreTrainedModel) -> None:
        """Removes the hooks and restores the attention implementation."""
        for hook in self._hooks:
            hook.remove()
        if not self._is_replaced:
            model.set_attn_implementation(self._original_attention)

    @contextmanager
    def trial(self) -> Iterator[PackedRow]:
        """Counts the calls of attention within the context."""
        self._row.num_calls = 0
        self._row.is_trial = True
        try:
            yield self._row
        finally:
            self._row.is_trial = False

    def _pooled_module(self) -> nn.Module:
        """The module whose output becomes one token per text.

        The pooler of the base model reads the output of the encoder, and the head reads
        the output of the base model.
        """
        encoder = getattr(self._base, "encoder", None)
        has_pooler = getattr(self._base, "pooler", None) is not None
        return encoder if has_pooler and encoder is not None else self._base

    def _begin(
        self, model: nn.Module, args: Any, kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        self._row.segments = kwargs["segments"]
        kwargs = kwargs | {"packing": self._row}
        if self._is_replaced:
            # Without a mask, the model would make one of [num_tokens, num_tokens].
            ones = torch.ones(1, 1, 1, 1, device=self._row.segments.bounds.device)
            kwargs["attention_mask"] = ones
        if self._by_last:
            # The head finds the last token of a text in the token ids. It sees texts of
            # one token, and the base model gets the whole row.
            self._input_ids = kwargs["input_ids"]
            last_ids = self._input_ids.index_select(1, self._row.segments.ends)
            kwargs |= {"input_ids": last_ids.T, "use_cache": False}
        return args, kwargs

    def _enter_base(
        self, base: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        self._row.num_tokens = self._input_ids.shape[1]
        if args:
            return (self._input_ids, *args[1:]), kwargs
        return args, kwargs | {"input_ids": self._input_ids}

    def _pool(self, module: nn.Module, args: Any, output: Any) -> Any:
        """Turns the row into [num_texts, 1, hidden_size]: texts of one token."""
        segments = self._row.segments
        hidden = output.last_hidden_state[0]  # [num_tokens, hidden_size]
        if self._by_mean:
            hidden = _means(hidden, segments)
        elif self._by_last:
            hidden = hidden.index_select(0, segments.ends)
        elif self._row.trimmed is None:
            hidden = hidden.index_select(0, segments.starts)
        output.last_hidden_state = hidden.unsqueeze(1)
        return output


def _means(hidden: Tensor, segments: Segments) -> Tensor:
    """Averages the tokens of each text, [num_texts, hidden_size]."""
    lengths = segments.bounds.diff()  # [num_texts + 1]; the last is the filler
    text = text_of_token(segments, len(hidden))
    zeros = hidden.new_zeros(len(lengths), hidden.shape[1])
    sums = zeros.index_add(0, text, hidden)
    return sums[:-1] / lengths[:-1, None]
