"""Attention of models that do not use the attention interface of transformers."""

from typing import Any

from transformers import PreTrainedModel

from ostinato.model import deberta, mpnet
from ostinato.model.packed_attention import PackedRow

_REPLACE = {
    "deberta": deberta.replace_attention,
    "deberta-v2": deberta.replace_attention,
    "mpnet": mpnet.replace_attention,
}


def replace_attention(model: PreTrainedModel, row: PackedRow) -> list[Any]:
    """Makes the layers of a known architecture compute the attention of a packed row.

    Args:
        model: the classifier; other architectures stay as they are.
        row: the current batch.

    Returns:
        Objects whose method `remove` restores the model; empty if nothing changed.
    """
    replace = _REPLACE.get(model.config.model_type)
    if replace is None:
        return []
    return replace(model.base_model.encoder, row)
