"""Runs an encoder on a packed batch: one row of real tokens, text after text. Changes no weight and no result.

Linear layers never see padding, attention stays within each text, and the head reads each text's first token (or
mean). In encoders built like BERT, the last layer computes only what the head reads.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.masking_utils import AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ostinato.config import Batching
from ostinato.data.collate import Collator, Segments
from ostinato.errors import ConfigError
from ostinato.model.agreement import Agreement, Rows, probe_rows
from ostinato.model.attention import attend
from ostinato.model.dropout import Masks
from ostinato.model.padding import POSITIONS_AFTER_PADDING

log = logging.getLogger(__name__)

_FAMILIES = ("bert", "electra", "distilbert", "modernbert", *POSITIONS_AFTER_PADDING)
_NAME = "ostinato_packed"


def can_pack(model: PreTrainedModel) -> bool:
    """Whether packed batches may be tried; others need padding."""
    return model.config.model_type in _FAMILIES


def collator_for(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batching: Batching,
    masks: Masks,
    rows: Rows | None = None,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Collator:
    """Chooses a form of batches in which a text gets the same logits as alone; packs the model where it is wanted.

    Tried are packed batches (where wanted), the tokenizer's padding side, and the other side, which is then written to
    the tokenizer.

    Args:
        model: the classifier, on its device.
        tokenizer: of the model, with the model's pad token.
        batching: what is wanted.
        masks: draws the dropout of attention weights.
        rows: tokenised texts of the run to compare with; None takes a few words.
        autocast: the run's precision.

    Returns:
        What makes batches in the form that the model then takes.

    Raises:
        ConfigError: the architecture gives a text other logits in a batch than alone.
    """
    unpack(model)
    architecture = model.config.model_type
    try:
        agreement = Agreement(model, probe_rows(tokenizer, rows), autocast)
    except Exception as error:  # whatever an architecture does not take
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ConfigError(
            [
                f"model.name: {architecture} cannot read a text ({type(error).__name__}: {reason}); take another model"
            ]
        ) from error
    padded = padded_collator(tokenizer)
    if batching is Batching.packed:
        packed = _packed(model, padded, agreement, masks)
        if packed is not None:
            return packed
    problem = agreement.problem(padded)
    if problem is None:
        return padded
    other = replace(padded, left=not padded.left)
    if agreement.problem(other) is None:
        side = "left" if other.left else "right"
        log.info(
            "%s: padding goes on the %s; on the other side %s",
            architecture,
            side,
            problem,
        )
        tokenizer.padding_side = side
        return other
    raise ConfigError(
        [
            f"model.name: {architecture} cannot be used in batches ({problem}); take another model"
        ]
    )


def padded_collator(tokenizer: PreTrainedTokenizerBase) -> Collator:
    """Pads on the tokenizer's side, with its pad token and its token type of padding."""
    left = tokenizer.padding_side == "left"
    return Collator(
        tokenizer.pad_token_id, pad_token_type_id=tokenizer.pad_token_type_id, left=left
    )


def _packed(
    model: PreTrainedModel, padded: Collator, agreement: Agreement, masks: Masks
) -> Collator | None:
    """Packs the model and returns its collator; None, with a line in the log, where it takes no packed batches."""
    problem: str | None = "its architecture is not known to"
    if can_pack(model):
        collator = replace(padded, packed=True, first_position=_first_position(model))
        pack(model, masks)
        problem = agreement.problem(collator)
        if problem is None:
            return collator
        unpack(model)
    log.info(
        "training.batching=packed: %s takes no packed batches; it gets bucketed ones (%s)",
        model.config.model_type,
        problem,
    )
    return None


def _first_position(model: PreTrainedModel) -> int:
    """Position id of a text's first token."""
    after_padding = model.config.model_type in POSITIONS_AFTER_PADDING
    return int(model.config.pad_token_id) + 1 if after_padding else 0


def pack(model: PreTrainedModel, masks: Masks) -> None:
    """Makes a classifier take packed batches, and nothing else from now on.

    Args:
        model: of a family that `can_pack`.
        masks: draws the dropout of attention weights.
    """
    unpack(model)
    _Packing(model, masks)


def unpack(model: PreTrainedModel) -> None:
    """Makes a packed classifier take padded batches again; leaves others as they are."""
    packing = model.__dict__.pop(_NAME, None)
    if packing is not None:
        packing.undo(model)


class _Packing:
    """What the hooks of one model share: the batch that is under way."""

    def __init__(self, model: PreTrainedModel, masks: Masks) -> None:
        self.masks = masks
        self.segments: Segments
        self._base = model.base_model
        self._attention = model.config._attn_implementation
        self._by_mean = getattr(model.config, "classifier_pooling", "cls") == "mean"
        self._hooks: list[Any] = []
        self.last_attention = self._trim_last_layer()
        self._hooks.append(
            model.register_forward_pre_hook(self._begin, with_kwargs=True)
        )
        self._hooks.append(self._base.register_forward_hook(self._pool))
        model.set_attn_implementation(_NAME)
        model.__dict__[_NAME] = self

    def undo(self, model: PreTrainedModel) -> None:
        for hook in self._hooks:
            hook.remove()
        model.set_attn_implementation(self._attention)

    def _trim_last_layer(self) -> nn.Module | None:
        """After its attention, BERT's last layer goes on with first tokens alone: nobody reads the others."""
        layers = getattr(getattr(self._base, "encoder", None), "layer", None)
        if layers is None:
            return None
        self._hooks.append(
            layers[-1].attention.output.register_forward_pre_hook(self._take_first)
        )
        attention: nn.Module = layers[-1].attention.self
        return attention

    def _begin(
        self, model: nn.Module, args: Any, kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        self.segments = kwargs["segments"]
        return args, kwargs | {"packing": self}

    def _take_first(
        self, module: nn.Module, args: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        return tuple(hidden.index_select(1, self.segments.starts) for hidden in args)

    def _pool(self, base: nn.Module, args: Any, output: Any) -> Any:
        hidden = output.last_hidden_state[0]
        if self._by_mean:
            hidden = self._means(hidden)
        elif self.last_attention is None:
            hidden = hidden.index_select(0, self.segments.starts)
        output.last_hidden_state = hidden.unsqueeze(
            1
        )  # [num_rows, 1, hidden_size]: texts of one token
        pooler = getattr(base, "pooler", None)
        if pooler is not None:
            output.pooler_output = pooler(output.last_hidden_state)
        return output

    def _means(self, hidden: Tensor) -> Tensor:
        lengths = self.segments.bounds.diff()
        rows = torch.arange(len(lengths), device=hidden.device)
        row = torch.repeat_interleave(rows, lengths, output_size=len(hidden))
        sums = hidden.new_zeros(len(lengths), hidden.shape[1]).index_add(0, row, hidden)
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
    """Attention as transformers calls it: [1, num_heads, num_tokens, head_dim] in, [1, num_tokens, ...] out."""
    q, k, v = (
        states.squeeze(0).transpose(0, 1) for states in (query, key, value)
    )  # states[0] costs a copy back
    segments = packing.segments
    options = (segments, scaling, dropout, packing.masks, sliding_window)
    if module is not packing.last_attention:
        return attend(q, k, v, *options).unsqueeze(0), None
    read = attend(q.index_select(0, segments.starts), k, v, *options)
    return torch.zeros_like(q).index_copy(0, segments.starts, read).unsqueeze(0), None


ALL_ATTENTION_FUNCTIONS.register(_NAME, _packed_attention)
AttentionMaskInterface.register(_NAME, lambda *_, **__: None)
