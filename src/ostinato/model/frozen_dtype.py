"""Stores the frozen matrices of a model with an adapter in bf16.

Products under bf16's autocast round their weights to bf16 anyway, and embeddings are
turned back to fp32. So the model computes the same bits as with these values in fp32.
Other weights, such as norms, stay in fp32.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ostinato.config import FrozenDtype, Precision
from ostinato.errors import ConfigError
from ostinato.model.adapter_layers import LINEAR


def check_precision(dtype: FrozenDtype | None, precision: Precision) -> None:
    """Refuses a number format of frozen weights that the precision does not use.

    Args:
        dtype: `model.dtype`.
        precision: of the run, without `auto`.

    Raises:
        ConfigError: they differ.
    """
    if dtype is not None and precision.value != dtype.value:
        problem = f"this machine's training.precision=auto is {precision.value}"
        remedy = "use training.precision=bf16, or model.dtype=null"
        raise ConfigError([f"model.dtype={dtype.value}: {problem}; {remedy}"])


def round_matrices(model: PreTrainedModel, dtype: FrozenDtype | None) -> None:
    """Rounds the values that `store_matrices` stores, before an adapter is added."""
    if dtype is None:
        return
    for parameter in _stored(model):
        parameter.data = parameter.data.bfloat16().float()


def store_matrices(
    model: PreTrainedModel, dtype: FrozenDtype | None, precision: Precision
) -> None:
    """Stores the frozen matrices in bf16 if products are computed in bf16.

    Args:
        model: the classifier, with its adapter; changed in place.
        dtype: `model.dtype`.
        precision: of the products.
    """
    if dtype is None or precision is not Precision.bf16:
        return
    for parameter in _stored(model):
        parameter.data = parameter.data.bfloat16()
    for module in model.base_model.modules():
        if isinstance(module, nn.Embedding) and module.weight.dtype == torch.bfloat16:
            module.register_forward_hook(_as_fp32)


def _as_fp32(module: nn.Module, arguments: object, output: Tensor) -> Tensor:
    return output.float()


def _stored(model: PreTrainedModel) -> Iterator[nn.Parameter]:
    """Yields the parameters of linear layers and of the word embeddings, once each.

    The pooler and the adapter are trained. A subclass of an embedding may compute with
    its weight.
    """
    base = model.base_model
    words = model.get_input_embeddings().weight
    found: dict[int, nn.Parameter] = {}
    embeddings = [part for part in base.modules() if isinstance(part, nn.Embedding)]
    sharing = {type(part) for part in embeddings if part.weight is words}
    if sharing == {nn.Embedding}:
        found[id(words)] = words
    for name, module in base.named_modules():
        is_trained = name.startswith("pooler") or ".lora_" in name
        if isinstance(module, LINEAR) and not is_trained:
            found |= {id(own): own for own in module.parameters(recurse=False)}
    yield from found.values()
