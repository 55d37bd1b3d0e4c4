"""Reads head, layers and positions of an architecture from its modules.

Architectures are not known by name here. A model is built on the meta device, which
needs neither memory nor random numbers, and its modules are inspected.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from ostinato.errors import ConfigError


def skeleton(config: PreTrainedConfig) -> PreTrainedModel:
    """Builds the classifier of a config on the meta device.

    Args:
        config: of the model; not changed.

    Raises:
        Exception: an error of transformers or torch for values that do not fit
            together.
    """
    own_config = copy.deepcopy(config)
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForSequenceClassification.from_config(
            own_config, trust_remote_code=False
        )
    return model


def is_causal(model: PreTrainedModel) -> bool:
    """Whether a token sees only the tokens before it, as in decoders."""
    modules = model.base_model.modules()
    return any(getattr(module, "is_causal", False) is True for module in modules)


def head_names(model: PreTrainedModel) -> list[str]:
    """Names the parameters above the base model, in the order of the model."""
    base = {id(parameter) for parameter in model.base_model.parameters()}
    names = []
    for name, parameter in model.named_parameters():
        if id(parameter) not in base:
            names.append(name)
    return names


@dataclass(frozen=True)
class Depths:
    """Depths of the parameters of a model.

    Attributes:
        by_parameter: depth by `id(parameter)`. Embeddings have depth 0 and the first
            layer has depth 1. The last layer and the parts of the base model after it
            (a final norm) have depth `num_layers`. The head and the pooler have depth
            `num_layers + 1`.
        num_layers: layers of the base model; 1 if `layers_found` is false.
        layers_found: whether the base model has exactly one list of layers. If not,
            the whole base model has depth 1.
    """

    by_parameter: Mapping[int, int]
    num_layers: int
    layers_found: bool


def depths(model: PreTrainedModel, key: str) -> Depths:
    """Measures the depth of each parameter from the modules.

    Args:
        model: the classifier.
        key: the config key that needs the depths, for an error.

    Raises:
        ConfigError: the model does not separate its head from its base model.
    """
    base: nn.Module = model.base_model
    if base is model:
        problem = "this model does not separate its head from its base model"
        raise ConfigError([f"{key}: {problem}; use the default"])
    layers = layers_of(model)
    if layers is None:
        depth_of = _depths_without_layers(base)
        num_layers = 1
    else:
        depth_of = _depths_with_layers(base, layers)
        num_layers = len(layers)
    for parameter in model.parameters():
        depth_of.setdefault(id(parameter), num_layers + 1)
    return Depths(depth_of, num_layers, layers is not None)


def _depths_without_layers(base: nn.Module) -> dict[int, int]:
    """Gives the pooler depth 2 and every other parameter of the base depth 1."""
    depth_of = _pooler_depths(base, 2)
    for parameter in base.parameters():
        depth_of.setdefault(id(parameter), 1)
    return depth_of


def _depths_with_layers(base: nn.Module, layers: nn.ModuleList) -> dict[int, int]:
    """Numbers the parameters of the base; the first rule that fits decides.

    1. The pooler has the depth of the head.
    2. A layer has its number, from 1.
    3. Embeddings have depth 0.
    4. Other parameters have depth 0 before the layers, and the depth of the last layer
       after them.
    """
    num_layers = len(layers)
    depth_of = _pooler_depths(base, num_layers + 1)
    for number, layer in enumerate(layers, start=1):
        for parameter in layer.parameters():
            depth_of.setdefault(id(parameter), number)
    for module in base.modules():
        if isinstance(module, nn.Embedding):
            depth_of.setdefault(id(module.weight), 0)
    after_layers = False
    for parameter in base.parameters():
        default = num_layers if after_layers else 0
        depth = depth_of.setdefault(id(parameter), default)
        if 0 < depth <= num_layers:
            after_layers = True
    return depth_of


def _pooler_depths(base: nn.Module, depth: int) -> dict[int, int]:
    """Gives all parameters of the pooler, if there is one, the same depth."""
    pooler = getattr(base, "pooler", None)
    if not isinstance(pooler, nn.Module):
        return {}
    return {id(parameter): depth for parameter in pooler.parameters()}


def layers_of(model: PreTrainedModel) -> nn.ModuleList | None:
    """Finds the list of the base model's layers.

    Returns:
        The list; None if there are several lists or if layers share weights.
    """
    lists = list(_outermost_lists(model.base_model))
    if len(lists) != 1:
        return None
    layers = lists[0]
    if len(layers) != getattr(model.config, "num_hidden_layers", None):
        return None
    for layer in layers:
        for module in layer.modules():
            if isinstance(module, nn.ModuleList) and len(module) > 1:
                return None
    return layers


def _outermost_lists(module: nn.Module) -> Iterator[nn.ModuleList]:
    """Yields the module lists with parameters that lie in no other list."""
    for child in module.children():
        if not isinstance(child, nn.ModuleList):
            yield from _outermost_lists(child)
        elif list(child.parameters()):
            yield child


def num_positions(model: PreTrainedModel) -> int | None:
    """Returns the longest input in tokens; None without a limit.

    Learned positions that start after the padding index (RoBERTa, MPNet) or at an
    offset (BART) have fewer usable positions than the config names. With `longrope`,
    the rotation of every text depends on the longest text of its batch if that text is
    longer than the original context, so longer texts count as not possible.
    """
    longest: int | None = getattr(model.config, "max_position_embeddings", None)
    if longest is not None and longest < 1:  # XLNet has -1 for relative positions
        longest = None
    rope = getattr(model.config.get_text_config(), "rope_parameters", None) or {}
    if longest is not None and rope.get("rope_type") == "longrope":
        longest = min(longest, rope["original_max_position_embeddings"])
    for name, module in model.base_model.named_modules():
        if isinstance(module, nn.Embedding) and _is_position_embedding(name):
            usable = module.num_embeddings - _first_position(module)
            longest = usable if longest is None else min(longest, usable)
    return longest


def _is_position_embedding(name: str) -> bool:
    """Whether an embedding has one entry per absolute position, by its full name."""
    last_part = name.rpartition(".")[2]
    if "relative" in name:
        return False
    return "position" in last_part or last_part == "wpe"


def _first_position(embedding: nn.Embedding) -> int:
    """Index of the first position that a text uses."""
    offset: int | None = getattr(embedding, "offset", None)
    if offset is not None:
        return offset
    if embedding.padding_idx is None:
        return 0
    return embedding.padding_idx + 1
