"""Runs an encoder on a packed batch: one row of real tokens, text after text. Changes no weight and no result.

Linear layers never see padding, attention stays within each text, and the head reads each text's first token (or
mean). In encoders built like BERT, the last layer computes only what the head reads.
"""

import logging
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ostinato.attention import attend
from ostinato.collate import Collator, Segments
from ostinato.config import Batching
from ostinato.dropout import Masks

log = logging.getLogger(__name__)

_POSITIONS_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert")  # the first position is pad_token_id + 1
_FAMILIES = ("bert", "electra", "distilbert", "modernbert", *_POSITIONS_AFTER_PADDING)
_NAME = "ostinato_packed"


def can_pack(model: PreTrainedModel) -> bool:
    """Whether the architecture takes packed batches; others need padding."""
    return model.config.model_type in _FAMILIES


def possible_batching(model: PreTrainedModel, wanted: Batching) -> Batching:
    """What is wanted, or buckets, said in the log, where an architecture takes no packed batches."""
    if wanted is not Batching.packed or can_pack(model):
        return wanted
    log.info("training.batching=packed: %s takes no packed batches; it gets bucketed ones", model.config.model_type)
    return Batching.bucketed


def collator_for(model: PreTrainedModel, pad_token_id: int, batching: Batching, masks: Masks) -> Collator:
    """Packs the model where it is wanted and can be; returns what makes batches in the form that it then takes."""
    if batching is not Batching.packed or not can_pack(model):
        return Collator(pad_token_id)
    pack(model, masks)
    return Collator(pad_token_id, packed=True, first_position=_first_position(model))


def _first_position(model: PreTrainedModel) -> int:
    """Position id of a text's first token."""
    after_padding = model.config.model_type in _POSITIONS_AFTER_PADDING
    return int(model.config.pad_token_id) + 1 if after_padding else 0


def pack(model: PreTrainedModel, masks: Masks) -> None:
    """Makes a classifier take packed batches, and nothing else from now on.

    Args:
        model: of a family that `can_pack`.
        masks: draws the dropout of attention weights.
    """
    model.set_attn_implementation(_NAME)
    _Packing(model, masks)


class _Packing:
    """What the hooks of one model share: the batch that is under way."""

    def __init__(self, model: PreTrainedModel, masks: Masks) -> None:
        self.masks = masks
        self.segments: Segments
        self._base = model.base_model
        self._by_mean = getattr(model.config, "classifier_pooling", "cls") == "mean"
        self.last_attention = self._trim_last_layer()
        model.register_forward_pre_hook(self._begin, with_kwargs=True)
        self._base.register_forward_hook(self._pool)

    def _trim_last_layer(self) -> nn.Module | None:
        """After its attention, BERT's last layer goes on with first tokens alone: nobody reads the others."""
        layers = getattr(getattr(self._base, "encoder", None), "layer", None)
        if layers is None:
            return None
        layers[-1].attention.output.register_forward_pre_hook(self._take_first)
        attention: nn.Module = layers[-1].attention.self
        return attention

    def _begin(self, model: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        self.segments = kwargs["segments"]
        return args, kwargs | {"packing": self}

    def _take_first(self, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(hidden.index_select(1, self.segments.starts) for hidden in args)

    def _pool(self, base: nn.Module, args: Any, output: Any) -> Any:
        hidden = output.last_hidden_state[0]
        if self._by_mean:
            hidden = self._means(hidden)
        elif self.last_attention is None:
            hidden = hidden.index_select(0, self.segments.starts)
        output.last_hidden_state = hidden.unsqueeze(1)  # [num_rows, 1, hidden_size]: texts of one token
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
    q, k, v = (states.squeeze(0).transpose(0, 1) for states in (query, key, value))  # states[0] costs a copy back
    segments = packing.segments
    options = (segments, scaling, dropout, packing.masks, sliding_window)
    if module is not packing.last_attention:
        return attend(q, k, v, *options).unsqueeze(0), None
    read = attend(q.index_select(0, segments.starts), k, v, *options)
    return torch.zeros_like(q).index_copy(0, segments.starts, read).unsqueeze(0), None


ALL_ATTENTION_FUNCTIONS.register(_NAME, _packed_attention)
AttentionMaskInterface.register(_NAME, lambda *_, **__: None)
