"""Which parts of a model an adapter changes, and which parts are trained whole."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ostinato.config import AdapterConfig
from ostinato.errors import ConfigError
from ostinato.model.architecture import depths

LINEAR = (nn.Linear, Conv1D)
"""The classes of linear layers; GPT-2 has the second one."""


def modules_above(model: PreTrainedModel, adapter: AdapterConfig) -> list[str]:
    """Names the modules above the layers: the pooler and the modules of the head.

    Args:
        model: the classifier, with or without the adapter.
        adapter: its config, for an error.

    Raises:
        ConfigError: the head is not made of modules of its own.
    """
    key = key_of(adapter)
    found = depths(model, key)
    names = [f"{model.base_model_prefix}.pooler"]
    names += [name for name, _ in model.named_children()]
    above = []
    for name in names:
        module = _submodule(model, name)
        parameters = [] if module is None else list(module.parameters())
        levels = {found.by_parameter[id(parameter)] for parameter in parameters}
        if levels == {found.num_layers + 1}:
            above.append(name)
    for name, parameter in model.named_parameters():
        is_above = found.by_parameter[id(parameter)] == found.num_layers + 1
        if is_above and not lies_in(name, above):
            problem = f"{name} of {model.config.model_type} is not in a module"
            raise ConfigError([f"{key}: {problem} of the head; use model/adapter=none"])
    return above


def _submodule(model: nn.Module, name: str) -> nn.Module | None:
    try:
        return model.get_submodule(name)
    except AttributeError:
        return None


def find_targets(
    model: PreTrainedModel, adapter: AdapterConfig, top: Sequence[str]
) -> list[str]:
    """Chooses the layers that get an adapter.

    Args:
        model: the classifier.
        adapter: config of the adapter.
        top: names of the modules above the layers.

    Returns:
        Full names, in alphabetical order.

    Raises:
        ConfigError: there is no such layer.
    """
    linear = sorted(_linear_layers(model, top))
    trained = [name for name in linear if _is_trained(model, name)]
    if not trained:
        problem = f"{model.config.model_type} has no linear layer that is trained"
        remedy = "freeze fewer layers, or use model/adapter=none"
        raise ConfigError([f"{key_of(adapter)}: {problem}; {remedy}"])
    if adapter.target_modules == "auto":
        return trained
    targets = set()
    for wanted in adapter.target_modules:
        found = [name for name in trained if f".{name}".endswith(f".{wanted}")]
        if not found:
            known = sorted({name.rpartition(".")[2] for name in trained})
            problem = f"{model.config.model_type} has no such layer that can have one"
            key = f"model.adapter.target_modules={wanted}"
            raise ConfigError([f"{key}: {problem}; it has {', '.join(known)}"])
        targets.update(found)
    return sorted(targets)


def _linear_layers(model: PreTrainedModel, top: Sequence[str]) -> Iterator[str]:
    """Yields the names of the linear layers that can have an adapter.

    torch's own attention reads the weight of its output layer, and an adapter there
    would have no effect.
    """
    closed = list(top)
    embeddings = set()
    for name, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            closed.append(name)
        if isinstance(module, nn.Embedding):
            embeddings.add(id(module.weight))
    for name, module in model.named_modules():
        if not isinstance(module, LINEAR) or id(module.weight) in embeddings:
            continue
        if not lies_in(name, closed):
            yield name


def _is_trained(model: nn.Module, name: str) -> bool:
    weight: Any = model.get_submodule(name).weight
    return bool(weight.requires_grad)


def lies_in(name: str, modules: Sequence[str]) -> bool:
    """Whether a name is that of one of the modules, or of a part of it."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def key_of(adapter: AdapterConfig) -> str:
    """The override that chooses the adapter."""
    return f"model/adapter={adapter.method.value}"
