"""Keeps the head of a pretrained model, or replaces it with a new one from a seed."""

import logging
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from ostinato.config import Head, ModelConfig
from ostinato.errors import ConfigError
from ostinato.model.pretrained import absent_weights, load_weights

log = logging.getLogger(__name__)

# transformers gives these names to labels without a name.
_DEFAULT_LABEL = re.compile(r"LABEL_\d+")


class Trained(NamedTuple):
    """The task that the head of a checkpoint was trained for.

    Attributes:
        labels: names of the labels; empty without names.
        problem_type: the problem type of transformers.
    """

    labels: list[str]
    problem_type: str


def trained_for(config: PreTrainedConfig) -> Trained:
    """Reads the labels and the problem type of a checkpoint from its config."""
    id2label = config.id2label or {}
    labels = [str(name) for _, name in sorted(id2label.items())]
    default = "regression" if len(labels) == 1 else "single_label_classification"
    problem_type = config.problem_type or default
    if all(_DEFAULT_LABEL.fullmatch(label) for label in labels):
        labels = []
    return Trained(labels, problem_type)


def load_with_head(
    cfg: ModelConfig, config: PreTrainedConfig, trained: Trained, head: Sequence[str]
) -> PreTrainedModel:
    """Loads pretrained weights, with the checkpoint's head or a new one.

    The random numbers of a new head come from torch's global generator.

    Args:
        cfg: the model to load, and what to do with its head.
        config: the model's config, with the labels and the task of the run.
        trained: labels and problem type of the checkpoint.
        head: names of the head's parameters.

    Raises:
        ConfigError: not found, damaged, weights of another encoder, or a head that
            cannot be kept.
    """
    labels = list(config.id2label.values())
    same_task = trained == (labels, config.problem_type)
    if cfg.head is Head.keep and not same_task:
        problem = (
            f"model.head=keep: {cfg.name} was trained for other labels "
            f"({_shortened(trained.labels)}) than {_shortened(labels)}"
        )
        raise ConfigError([f"{problem}; use model.head=new"])

    options: dict[str, Any] = {"config": config, "attn_implementation": cfg.attention}
    state = torch.get_rng_state()
    model, report = load_weights(cfg, ignore_mismatched_sizes=True, **options)
    absent = absent_weights(report)
    absent_from_head = absent & set(head)
    _check_encoder(cfg, model, absent - set(head))
    if same_task and not absent_from_head and cfg.head is not Head.new:
        log.info(
            "model.head=%s: %s keeps its head because the data has the same labels",
            cfg.head.value,
            cfg.name,
        )
        return model
    if cfg.head is Head.keep:
        problem = f"model.head=keep: {cfg.name} has no trained head"
        raise ConfigError([f"{problem}; use model.head=new"])
    has_a_part = absent_from_head != set(head)
    is_renewed = cfg.head is Head.new and has_a_part
    if absent_from_head and not report["mismatched_keys"] and not is_renewed:
        # The checkpoint has no classifier, perhaps a part of a head (ModernBERT).
        # transformers has drawn the other weights from the seed.
        return model
    torch.set_rng_state(state)
    return _with_new_head(model, head, options)


def _with_new_head(
    model: PreTrainedModel, head: Sequence[str], options: dict[str, Any]
) -> PreTrainedModel:
    """Builds the model again from its weights without those of the head."""
    weights = dict(model.state_dict())
    for name in head:
        weights.pop(name, None)
    renewed: PreTrainedModel = type(model).from_pretrained(
        None, state_dict=weights, dtype=torch.float32, **options
    )
    return renewed


def _check_encoder(cfg: ModelConfig, model: PreTrainedModel, absent: set[str]) -> None:
    """Refuses an encoder with weights that transformers had to draw at random.

    The pooler may be absent because many checkpoints have none.

    Args:
        cfg: the model that was loaded.
        model: the loaded model.
        absent: absent weights outside of the head.
    """
    base: nn.Module = model.base_model
    pooler = getattr(base, "pooler", None)
    pooler_ids = set()
    if isinstance(pooler, nn.Module):
        pooler_ids = {id(parameter) for parameter in pooler.parameters()}
    needed = []
    for name, parameter in model.named_parameters():
        if name in absent and id(parameter) not in pooler_ids:
            needed.append(name)
    if needed:
        problem = f"{len(needed)} weights are missing or have another shape"
        raise ConfigError([f"model.name={cfg.name}: {problem}, e.g. {min(needed)}"])


def _shortened(labels: Iterable[str]) -> str:
    return textwrap.shorten(", ".join(labels), 80)
