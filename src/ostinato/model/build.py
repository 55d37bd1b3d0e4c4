"""Builds the tokenizer and the classifier of a run."""

import textwrap
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ostinato.config import Head, ModelConfig, Task
from ostinato.errors import ConfigError, UserError
from ostinato.model.architecture import head_names, num_positions, skeleton
from ostinato.model.dropout_fields import wanted_dropout
from ostinato.model.heads import load_with_head, trained_for
from ostinato.model.padding import settle_pad_token
from ostinato.model.pretrained import (
    check_attention,
    load_config,
    load_tokenizer_files,
    refused,
)
from ostinato.model.words import SPECIAL, word_tokenizer
from ostinato.redaction import redact
from ostinato.storage.paths import local_folder


def load_tokenizer(cfg: ModelConfig, texts: Iterable[str]) -> PreTrainedTokenizerBase:
    """Loads the model's tokenizer.

    Args:
        cfg: the model.
        texts: texts whose words become the vocabulary if a model with random weights
            has no tokenizer.

    Raises:
        ConfigError: not found, not reachable, or a vocabulary that is too small.
    """
    tokenizer: PreTrainedTokenizerBase
    if _from_scratch(cfg):
        vocab_size = _architecture(cfg).vocab_size
        if vocab_size <= len(SPECIAL):
            needed = f"the special tokens need {len(SPECIAL)}; use a larger vocabulary"
            raise ConfigError([f"model.architecture.vocab_size={vocab_size}: {needed}"])
        tokenizer = word_tokenizer(texts, vocab_size)
    else:
        tokenizer = load_tokenizer_files(cfg)
    # This is saved with the model, so prediction truncates in the same way as training.
    tokenizer.model_max_length = cfg.max_length
    return tokenizer


def build_classifier(
    cfg: ModelConfig,
    tokenizer: PreTrainedTokenizerBase,
    labels: Sequence[str],
    task: Task,
    head_seed: int,
) -> PreTrainedModel:
    """Builds a classifier in fp32: a pretrained encoder with a head, or random weights.

    `cfg.head` decides whether a checkpoint's head is kept or replaced.

    Args:
        cfg: the model to build.
        tokenizer: the model's tokenizer; sets the special tokens of a model from
            scratch.
        labels: names of the classes, stored as `id2label`; empty for regression.
        task: sets `problem_type`.
        head_seed: seed of the head's weights, or of all weights with
            `model.pretrained=false`; they are a function of this seed alone.

    Raises:
        ConfigError: not found, not reachable, or values that do not fit the
            architecture.
    """
    if cfg.head is Head.keep and not cfg.pretrained:
        problem = "model.head=keep: model.pretrained=false has no trained head"
        raise ConfigError([f"{problem}; use model.head=auto"])
    config = _architecture(cfg) if _from_scratch(cfg) else load_config(cfg)
    try:
        return _build(cfg, config, tokenizer, labels, task, head_seed)
    except UserError:
        raise
    except Exception as error:  # values that do not fit raise errors of any class
        raise refused(cfg, error) from error


def _build(
    cfg: ModelConfig,
    config: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    labels: Sequence[str],
    task: Task,
    head_seed: int,
) -> PreTrainedModel:
    """Completes the config and builds the classifier; see `build_classifier`."""
    trained = trained_for(config)
    if not _from_scratch(cfg):
        settle_pad_token(config, tokenizer)
    _set_task(config, labels, task)
    if _from_scratch(cfg):
        _set_special_tokens(config, tokenizer)
    frame = skeleton(config)
    if getattr(config, "num_hidden_layers", 1) < 1:
        problem = "the config has no layers (num_hidden_layers)"
        raise ConfigError([f"model.name={cfg.name}: {problem}"])
    _check_length(cfg, frame)
    dropout = wanted_dropout(config, cfg.dropout, cfg.attention_dropout)
    for name, probability in dropout.items():
        setattr(config, name, probability)
    with torch.random.fork_rng(devices=[]):
        # Seeded just before the only draws, so nothing earlier changes the head.
        torch.manual_seed(head_seed)
        if cfg.pretrained:
            return load_with_head(cfg, config, trained, head_names(frame))
        model: PreTrainedModel = AutoModelForSequenceClassification.from_config(
            config,
            attn_implementation=cfg.attention,
            dtype=torch.float32,
            trust_remote_code=False,
        )
        return model


def _from_scratch(cfg: ModelConfig) -> bool:
    """Whether the model has random weights and no tokenizer files.

    Raises:
        ConfigError: `model.name` is a model on this machine, which would be ignored.
    """
    if cfg.pretrained or cfg.architecture is None:
        return False
    folder = local_folder(cfg.name)
    if folder is not None and (folder / "config.json").is_file():
        problem = f"model.architecture: model.name={cfg.name} has its own architecture"
        remedy = "use model.architecture=null, or another model.name"
        raise ConfigError([f"{problem}; {remedy}"])
    return True


def _architecture(cfg: ModelConfig) -> PreTrainedConfig:
    """Makes a config from `model.architecture`."""
    values = dict(cfg.architecture or {})
    model_type = values.pop("model_type", None)
    try:
        known = AutoConfig.for_model(model_type).to_dict()
        _check_names(model_type, values, known)
        config = AutoConfig.for_model(model_type, **values)
        check_attention(config, "model.architecture")
        return config
    except UserError:
        raise
    except ValueError as error:
        key = f"model.architecture.model_type={model_type}"
        problem = f"{key}: transformers does not have this architecture"
        raise ConfigError([problem]) from error
    except Exception as error:  # the checks of configs raise errors of any class
        reason = textwrap.shorten(redact(str(error)), 200)
        raise ConfigError([f"model.architecture: {reason}"]) from error


def _check_names(model_type: str, values: Iterable[str], known: Iterable[str]) -> None:
    """Refuses names that look like a typing mistake.

    Other unknown names are allowed because a model may read values that its config
    does not declare.
    """
    for name in set(values) - set(known):
        near = get_close_matches(name, known, n=1, cutoff=0.9)
        if near:
            guess = f"{model_type} does not have this value; did you mean {near[0]}?"
            raise ConfigError([f"model.architecture.{name}: {guess}"])


def _set_task(config: PreTrainedConfig, labels: Sequence[str], task: Task) -> None:
    names = list(labels) or ["value"]
    config.id2label = dict(enumerate(names))
    config.label2id = {name: number for number, name in enumerate(names)}
    if task is Task.regression:
        config.problem_type = "regression"
    else:
        config.problem_type = f"{task.value}_classification"


def _set_special_tokens(
    config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase
) -> None:
    config.pad_token_id = tokenizer.pad_token_id
    config.cls_token_id = tokenizer.cls_token_id
    config.sep_token_id = tokenizer.sep_token_id
    config.bos_token_id = tokenizer.cls_token_id
    config.eos_token_id = tokenizer.sep_token_id


def _check_length(cfg: ModelConfig, frame: PreTrainedModel) -> None:
    positions = num_positions(frame)
    if positions is not None and cfg.max_length > positions:
        problem = f"the model has {positions} positions; use at most {positions}"
        raise ConfigError([f"model.max_length={cfg.max_length}: {problem}"])
