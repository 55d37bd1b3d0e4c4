"""Sets the dropout probabilities of a config and checks that a model uses them."""

import copy
from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers import PreTrainedConfig

from ostinato.errors import ConfigError
from ostinato.model.architecture import skeleton

# No config has these probabilities, so a module with one of them follows the config.
_PROBE = 0.1234
_OTHER = 0.4321


def wanted_dropout(
    config: PreTrainedConfig, dropout: float | None, attention_dropout: float | None
) -> dict[str, float]:
    """Returns the config fields for `model.dropout` and `model.attention_dropout`.

    Args:
        config: of the model.
        dropout: probability for hidden states and head; None keeps the config's.
        attention_dropout: probability for attention weights; None keeps the config's.

    Returns:
        Values by name of the field.

    Raises:
        ConfigError: a value would have no effect on the architecture, or not on all of
            its parts.
    """
    hidden_fields, attention_fields = dropout_fields(config)
    values: dict[str, float] = {}
    if dropout is not None:
        key = f"model.dropout={dropout}"
        check_dropout(config, key, hidden_fields, attention_fields)
        values |= dict.fromkeys(hidden_fields, dropout)
    if attention_dropout is not None:
        key = f"model.attention_dropout={attention_dropout}"
        check_dropout(config, key, attention_fields, hidden_fields)
        values |= dict.fromkeys(attention_fields, attention_dropout)
    return values


def dropout_fields(config: PreTrainedConfig) -> tuple[list[str], list[str]]:
    """Names the dropout probabilities of a config; LayerDrop does not count.

    Args:
        config: of the model.

    Returns:
        The fields of hidden states and head, and the fields of attention weights.
    """
    hidden = []
    attention = []
    for name, value in config.to_dict().items():
        is_dropout = "dropout" in name or name.endswith("pdrop")
        if not is_dropout or not _is_number(value):
            continue
        if "attn" in name or "attention" in name:
            attention.append(name)
        else:
            hidden.append(name)
    return hidden, attention


def check_dropout(
    config: PreTrainedConfig, key: str, fields: list[str], others: list[str]
) -> None:
    """Builds the architecture with probe values and looks for parts that ignore them.

    Args:
        config: of the model.
        key: the key and value that the user set, for the error.
        fields: fields of the config that the key sets.
        others: all other dropout probabilities of the config.

    Raises:
        ConfigError: the key would have no effect, or not on all parts.
    """
    probe = copy.deepcopy(config)
    for name in fields:
        setattr(probe, name, _PROBE)
    for name in others:
        setattr(probe, name, _OTHER)
    probabilities = dict(_probabilities(skeleton(probe)))
    remedy = f"use {key.split('=')[0]}=null"
    if _PROBE not in probabilities.values():
        problem = f"{key}: {config.model_type} does not have this dropout"
        raise ConfigError([f"{problem}; {remedy}"])
    for name, probability in probabilities.items():
        if probability not in (_PROBE, _OTHER):
            problem = f"{key}: {name} of {config.model_type} ignores it"
            raise ConfigError([f"{problem}; {remedy}"])


def _probabilities(model: nn.Module) -> Iterator[tuple[str, float]]:
    """Yields the name and value of every dropout probability of a model.

    They come from dropout modules and from the attributes of functional dropout.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout):
            yield name, module.p
        for attribute, value in vars(module).items():
            if "dropout" in attribute and _is_number(value):
                yield f"{name}.{attribute}", float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
