"""Excludes the lower layers of a model from training."""

from transformers import PreTrainedModel

from ostinato.errors import ConfigError
from ostinato.model.architecture import depths


def freeze(model: PreTrainedModel, num_layers: int | None) -> None:
    """Freezes the embeddings and the first layers in place.

    Frozen weights get no gradient and no weight decay. Their layers keep their dropout.

    Args:
        model: the classifier.
        num_layers: layers to freeze above the embeddings; None freezes nothing.

    Raises:
        ConfigError: the model has fewer layers, or its layers cannot be found.
    """
    if num_layers is None:
        return
    key = f"model.freeze={num_layers}"
    found = depths(model, key)
    if not found.layers_found:
        name = model.config.model_type
        problem = f"{name} is not one list of layers with weights of their own"
        raise ConfigError([f"{key}: {problem}; use null"])
    if num_layers > found.num_layers:
        problem = f"the model has {found.num_layers} layers"
        raise ConfigError([f"{key}: {problem}; use at most {found.num_layers}"])
    for parameter in model.parameters():
        if found.by_parameter[id(parameter)] <= num_layers:
            parameter.requires_grad_(False)
