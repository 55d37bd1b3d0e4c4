"""Adapters of peft: small trained matrices beside frozen linear layers.

The model stays a model of transformers, with wrapped linear layers. Its pooler and its
head are trained whole. Only this module imports peft, where an adapter is used.
"""

import textwrap
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ostinato.config import (
    AdapterConfig,
    AdapterMethod,
    ModelConfig,
    missing_adapter_package,
)
from ostinato.errors import ConfigError
from ostinato.model.adapter_layers import (
    find_targets,
    key_of,
    lies_in,
    modules_above,
)
from ostinato.redaction import redact

_PREFIX = "base_model.model."  # of the names in files of peft


def has_adapter(model: nn.Module) -> bool:
    """Whether a model has an adapter."""
    return hasattr(model, "peft_config")


def add_adapter(
    model: PreTrainedModel, cfg: ModelConfig, seed: int, revision: str | None = None
) -> None:
    """Adds the adapter of the config in place, and freezes all weights but it.

    The pooler and the head stay trained. A layer that is frozen already gets no
    adapter.

    Args:
        model: the classifier in fp32, on the CPU.
        cfg: the model's config, with an adapter.
        seed: of the adapter's weights; they are a function of this seed alone.
        revision: of the base model on the Hub, for `adapter_config.json`.

    Raises:
        ConfigError: peft is missing, or the adapter does not fit the model.
    """
    check_peft(cfg)
    adapter = cfg.adapter
    assert adapter is not None
    from peft import LoraConfig, inject_adapter_in_model

    top = modules_above(model, adapter)
    targets = find_targets(model, adapter, top)
    config = LoraConfig(
        task_type="SEQ_CLS",
        r=adapter.r,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        use_dora=adapter.method is AdapterMethod.dora,
        target_modules=targets,
        # Random weights are not a model that peft could load.
        base_model_name_or_path=redact(cfg.name) if cfg.pretrained else None,
        revision=revision,
    )
    # peft warns that GPT-2 stores transposed matrices, and then transposes them.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        try:
            inject_adapter_in_model(config, model)
        except ValueError as error:
            reason = textwrap.shorten(redact(str(error)), 200)
            problem = f"{key_of(adapter)}: peft refuses {model.config.model_type}"
            raise ConfigError([f"{problem} ({reason})"]) from error
    config.target_modules = targets  # peft shortens the names, in any order
    config.modules_to_save = top
    for name, parameter in model.named_parameters():
        if lies_in(name, top):
            parameter.requires_grad_(True)


def check_peft(cfg: ModelConfig) -> None:
    """Refuses an adapter if peft is not installed.

    Raises:
        ConfigError: names the remedy.
    """
    problems = missing_adapter_package(cfg)
    if problems:
        raise ConfigError(problems)


def base_weights(model: PreTrainedModel, adapter: AdapterConfig) -> dict[str, Tensor]:
    """The weights that an adapter needs and does not hold, by their original names.

    Args:
        model: the classifier, with or without the adapter.
        adapter: its config, for an error.
    """
    above = modules_above(model, adapter)
    weights = {}
    for name, tensor in model.state_dict().items():
        if not lies_in(name, above) and ".lora_" not in name:
            weights[name.replace(".base_layer.", ".")] = tensor
    return weights


def adapter_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights of the adapter, the pooler and the head.

    Args:
        model: the classifier, with the adapter.

    Returns:
        Tensors that share the model's memory, by the names in files of peft.
    """
    from peft import get_peft_model_state_dict

    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    above = _config(model).modules_to_save
    for name, tensor in model.state_dict().items():
        if lies_in(name, above):
            weights[name] = tensor
    return {f"{_PREFIX}{name}": tensor for name, tensor in weights.items()}


def own_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights that a checkpoint holds; they share the model's memory.

    These are all weights, or those of `adapter_weights`.
    """
    if has_adapter(model):
        return adapter_weights(model)
    return dict(model.state_dict())


def load_own_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copies values into the weights that `own_weights` returns."""
    for name, tensor in own_weights(model).items():
        tensor.copy_(weights[name])


def shapes_of(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor by name."""
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


def adapter_record(model: nn.Module) -> dict[str, Any]:
    """The content of `adapter_config.json`."""
    record: dict[str, Any] = _config(model).to_dict()
    return {**record, "inference_mode": True}


def merge_adapter(model: nn.Module) -> None:
    """Adds the adapter to the weights in place; a plain model is left."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            model.set_submodule(name, module.get_base_layer())
    del model.peft_config


def _config(model: Any) -> Any:
    """The config that peft keeps with the model."""
    (config,) = model.peft_config.values()
    return config
