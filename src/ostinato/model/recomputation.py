"""Computes the activations of each layer again in the backward pass, to save memory."""

from transformers import PreTrainedModel

from ostinato.errors import ConfigError
from ostinato.model.dropout import Masks


def recompute_activations(model: PreTrainedModel, masks: Masks) -> None:
    """Makes a model keep only the inputs of its layers in the forward pass.

    torch repeats its own random numbers. Those of dropout on a CPU come from `masks`.

    Args:
        model: changed in place.
        masks: source of the dropout masks.

    Raises:
        ConfigError: the architecture does not support it.
    """
    options = {"use_reentrant": False, "context_fn": masks.contexts}
    enable = getattr(model, "activation_checkpointing_enable", None)
    if enable is None:  # transformers before it renamed the method
        enable = model.gradient_checkpointing_enable
    try:
        enable(options)
    except ValueError as error:
        architecture = model.config.model_type
        problem = f"{architecture} does not support it"
        raise ConfigError(
            [f"training.gradient_checkpointing=true: {problem}; use false"]
        ) from error
