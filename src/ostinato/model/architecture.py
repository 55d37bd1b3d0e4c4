"""What an architecture is made of, read from its modules without weights: head, layers, positions, dropout.

Nothing here goes by the name of an architecture: a model is built on the meta device, where it costs neither memory nor
random numbers, and its modules are inspected.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from ostinato.errors import ConfigError

# Probabilities that no config uses by itself: where one shows up, it was set by the field that it stands for.
_PROBE, _OTHER = 0.1234, 0.4321


def skeleton(config: PreTrainedConfig) -> PreTrainedModel:
    """Builds the classifier of a config on the meta device.

    Raises:
        Exception: whatever transformers or torch raise for values that do not fit together.
    """
    with torch.device("meta"):
        own = copy.deepcopy(config)
        model: PreTrainedModel = AutoModelForSequenceClassification.from_config(
            own, trust_remote_code=False
        )
    return model


def head_names(model: PreTrainedModel) -> list[str]:
    """Names of the parameters above the base model, in the order of the model."""
    base = {id(parameter) for parameter in model.base_model.parameters()}
    return [
        name
        for name, parameter in model.named_parameters()
        if id(parameter) not in base
    ]


@dataclass(frozen=True)
class Depths:
    """How deep each parameter lies.

    Attributes:
        by_parameter: `id(parameter)` to depth: 0 for embeddings, 1 for the first layer, `num_layers` for the last layer
            and what follows it in the base model (a final norm), `num_layers + 1` for the head and the pooler.
        num_layers: layers of the base model; 1 where `layers_found` is false.
        layers_found: whether the base model is one list of layers. Without it, everything in the base has depth 1.
    """

    by_parameter: Mapping[int, int]
    num_layers: int
    layers_found: bool


def depths(model: PreTrainedModel) -> Depths:
    """Measures the depth of each parameter from the module tree.

    Raises:
        ConfigError: the model does not separate its head from its base.
    """
    base: nn.Module = model.base_model
    if base is model:
        keys = "training.head_lr, training.layer_lr_decay"
        raise ConfigError(
            [
                f"{keys}: the head of this model is not apart from its base; use null and 1"
            ]
        )
    layers = _layers(model)
    num_layers = len(layers) if layers is not None else 1
    found: dict[int, int] = {}
    pooler = getattr(base, "pooler", None)
    for parameter in pooler.parameters() if isinstance(pooler, nn.Module) else ():
        found[id(parameter)] = num_layers + 1
    if layers is not None:
        for number, layer in enumerate(layers, start=1):
            for parameter in layer.parameters():
                found.setdefault(id(parameter), number)
    for module in base.modules():
        if isinstance(module, nn.Embedding):
            found.setdefault(id(module.weight), 0 if layers is not None else 1)
    after_layers = False
    for parameter in base.parameters():
        depth = found.setdefault(
            id(parameter), num_layers if after_layers or layers is None else 0
        )
        after_layers = after_layers or 0 < depth <= num_layers
    for parameter in model.parameters():
        found.setdefault(id(parameter), num_layers + 1)
    return Depths(found, num_layers, layers is not None)


def _layers(model: PreTrainedModel) -> nn.ModuleList | None:
    """The list of the base model's layers; None where there is more than one, or where layers share weights."""
    lists = list(_outermost_lists(model.base_model))
    if len(lists) != 1:
        return None
    inner = [
        m
        for layer in lists[0]
        for m in layer.modules()
        if isinstance(m, nn.ModuleList) and len(m) > 1
    ]
    if inner or len(lists[0]) != getattr(model.config, "num_hidden_layers", None):
        return None
    return lists[0]


def _outermost_lists(module: nn.Module) -> Iterator[nn.ModuleList]:
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            if any(True for _ in child.parameters()):
                yield child
        else:
            yield from _outermost_lists(child)


def num_positions(model: PreTrainedModel) -> int | None:
    """The longest input in tokens; None where the architecture has no limit.

    Learned positions that begin after the padding index (RoBERTa, MPNet) or at an offset (BART) leave fewer than the
    config names.
    """
    longest: int | None = getattr(model.config, "max_position_embeddings", None)
    if longest is not None and longest < 1:  # XLNet's -1: relative positions
        longest = None
    for name, module in model.base_model.named_modules():
        if not isinstance(module, nn.Embedding) or "relative" in name:
            continue
        if (
            "position" not in name.rpartition(".")[2]
            and name.rpartition(".")[2] != "wpe"
        ):
            continue
        first = getattr(module, "offset", None)
        if first is None:
            first = 0 if module.padding_idx is None else module.padding_idx + 1
        usable = module.num_embeddings - first
        longest = usable if longest is None else min(longest, usable)
    return longest


def dropout_fields(config: PreTrainedConfig) -> tuple[list[str], list[str]]:
    """Names of a config's probabilities: of hidden states and head, and of attention. LayerDrop is neither."""
    values = {
        name: value
        for name, value in config.to_dict().items()
        if "dropout" in name or name.endswith("pdrop")
    }
    names = [name for name, value in values.items() if _is_number(value)]
    attention = [name for name in names if "attn" in name or "attention" in name]
    return [name for name in names if name not in attention], attention


def check_dropout(
    config: PreTrainedConfig, key: str, fields: list[str], others: list[str]
) -> None:
    """Builds the architecture with probe values and looks whether every dropout in it follows the config.

    Args:
        config: of the model.
        key: config key that the user set, for the error.
        fields: names of the config's fields that the key sets.
        others: names of the other probabilities.

    Raises:
        ConfigError: the key would have no effect, or not everywhere.
    """
    probe = copy.deepcopy(config)
    for name in fields:
        setattr(probe, name, _PROBE)
    for name in others:
        setattr(probe, name, _OTHER)
    found = dict(_probabilities(skeleton(probe)))
    fixed = [name for name, value in found.items() if value not in (_PROBE, _OTHER)]
    if _PROBE not in found.values():
        raise ConfigError(
            [
                f"{key}: {config.model_type} has no such dropout; use {key.split('=')[0]}=null"
            ]
        )
    if fixed:
        raise ConfigError(
            [
                f"{key}: {fixed[0]} of {config.model_type} ignores it; use {key.split('=')[0]}=null"
            ]
        )


def _probabilities(model: nn.Module) -> Iterator[tuple[str, float]]:
    """Every dropout probability of a model, from modules and from attributes that functional dropout reads."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout):
            yield name, module.p
        for attribute, value in vars(module).items():
            if "dropout" in attribute and _is_number(value):
                yield f"{name}.{attribute}", float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def wanted_dropout(
    config: PreTrainedConfig, dropout: float | None, attention_dropout: float | None
) -> dict[str, Any]:
    """The config's fields that `model.dropout` and `model.attention_dropout` set, with their values.

    Raises:
        ConfigError: one of them would have no effect on this architecture, or not everywhere.
    """
    hidden, attention = dropout_fields(config)
    chosen: dict[str, Any] = {}
    for name, value, fields, others in (
        ("dropout", dropout, hidden, attention),
        ("attention_dropout", attention_dropout, attention, hidden),
    ):
        if value is not None:
            check_dropout(config, f"model.{name}={value}", fields, others)
            chosen |= dict.fromkeys(fields, value)
    return chosen
