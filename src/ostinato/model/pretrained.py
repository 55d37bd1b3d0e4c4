"""Pretrained models and tokenizers: found, and loaded as data. Code that comes with a model never runs."""

import logging
import os
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from ostinato.config import Head, ModelConfig
from ostinato.data import assets
from ostinato.errors import ConfigError
from ostinato.model.padding import settle_pad_token
from ostinato.storage.paths import local_folder

# Reports of new head weights and bars for milliseconds say nothing that a user asked for.
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()
# Else loading weights that are no safetensors asks a third party, in the background, to convert them on the hub.
os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"

log = logging.getLogger(__name__)

_UNNAMED = re.compile(r"LABEL_\d+")  # what transformers calls labels that nobody named


def locate(name: str) -> str:
    """Turns `model.name` into what transformers loads: a folder of an asset, a local folder, or a hub name.

    Raises:
        ConfigError: a path that is not there.
        AssetError: an asset that could not be fetched.
    """
    if name.startswith("asset:"):
        return str(assets.fetch_model(name.removeprefix("asset:")))
    folder = local_folder(name)
    if folder is not None:
        return str(folder)
    if Path(name).is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise ConfigError([f"model.name={name}: no such folder"])
    return name


def load_config(cfg: ModelConfig) -> PreTrainedConfig:
    """Loads the config of a pretrained model.

    Raises:
        ConfigError: not found, not reachable, or damaged.
    """
    config: PreTrainedConfig = _load(AutoConfig, cfg)
    return config


def load_tokenizer_files(cfg: ModelConfig) -> PreTrainedTokenizerBase:
    """Loads the tokenizer of a pretrained model.

    Raises:
        ConfigError: not found, not reachable, or damaged.
    """
    tokenizer: PreTrainedTokenizerBase = _load(AutoTokenizer, cfg)
    return tokenizer


def load_folder(
    folder: Path, attention: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Loads a trained classifier with its tokenizer, in fp32, in evaluation mode.

    Args:
        folder: a Hugging Face folder.
        attention: attention implementation; None takes the model's own choice.

    Raises:
        ConfigError: damaged, or weights that are missing: transformers would fill them with random numbers.
    """
    cfg = ModelConfig(name=str(folder.resolve()))
    config, tokenizer = load_parts(folder)
    options = {} if attention is None else {"attn_implementation": attention}
    model, info = _load_weights(cfg, config=config, **options)
    absent = _absent(info) & dict(model.named_parameters()).keys()
    if absent:
        raise ConfigError(
            [
                f"model.name={folder}: holds no trained classifier (without {min(absent)})"
            ]
        )
    return model.eval(), tokenizer


def load_parts(folder: Path) -> tuple[PreTrainedConfig, PreTrainedTokenizerBase]:
    """Loads the config and the tokenizer of a trained classifier, which agree on the pad token.

    Raises:
        ConfigError: damaged.
    """
    cfg = ModelConfig(name=str(folder.resolve()))
    config, tokenizer = load_config(cfg), load_tokenizer_files(cfg)
    settle_pad_token(config, tokenizer)
    return config, tokenizer


def trained_for(config: PreTrainedConfig) -> tuple[list[str], str]:
    """Label names and problem type of a checkpoint's own head, if it has one."""
    labels = [str(name) for _, name in sorted((config.id2label or {}).items())]
    assumed = "regression" if len(labels) == 1 else "single_label_classification"
    return [] if all(
        map(_UNNAMED.fullmatch, labels)
    ) else labels, config.problem_type or assumed


def load_with_head(
    cfg: ModelConfig,
    config: PreTrainedConfig,
    trained_for: tuple[list[str], str],
    head: Sequence[str],
) -> PreTrainedModel:
    """Loads pretrained weights; `config` already has the run's labels and task.

    Args:
        cfg: what to load, and what becomes of its head.
        config: the model's config.
        trained_for: label names and problem type of the checkpoint.
        head: names of the head's parameters.

    Raises:
        ConfigError: not found, damaged, weights of another encoder, or a head that cannot be kept.
    """
    labels, problem = trained_for
    options: dict[str, Any] = {"config": config, "attn_implementation": cfg.attention}
    same = labels == list(config.id2label.values()) and problem == config.problem_type
    if cfg.head is Head.keep and not same:
        theirs, ours = (
            textwrap.shorten(", ".join(names), 80)
            for names in (labels, config.id2label.values())
        )
        raise ConfigError(
            [
                f"model.head=keep: {cfg.name} was trained for other labels ({theirs}) than {ours}; use model.head=new"
            ]
        )
    state = torch.get_rng_state()
    model, info = _load_weights(cfg, ignore_mismatched_sizes=True, **options)
    absent = _absent(info)
    _check_encoder(cfg, model, absent - set(head))
    if same and cfg.head is not Head.new and absent.isdisjoint(head):
        log.info(
            "model.head=%s: %s keeps its head, whose labels are those of the data",
            cfg.head.value,
            cfg.name,
        )
        return model
    if cfg.head is Head.keep:
        raise ConfigError(
            [f"model.head=keep: {cfg.name} has no trained head; use model.head=new"]
        )
    if absent & set(head) and not info["mismatched_keys"]:
        return model  # it brought no classifier, perhaps a part of a head (ModernBERT), and got the rest from the seed
    torch.set_rng_state(state)
    weights = {
        name: tensor for name, tensor in model.state_dict().items() if name not in head
    }
    renewed: PreTrainedModel = type(model).from_pretrained(
        None, state_dict=weights, dtype=torch.float32, **options
    )
    return renewed


def _absent(info: dict[str, Any]) -> set[str]:
    """Weights that a checkpoint lacks, or has in another shape."""
    return {str(key) for key in info["missing_keys"]} | {
        str(key[0]) for key in info["mismatched_keys"]
    }


def _check_encoder(cfg: ModelConfig, model: PreTrainedModel, absent: set[str]) -> None:
    """Refuses an encoder that transformers filled up with random weights. Many checkpoints have no pooler."""
    base: nn.Module = model.base_model
    needed = {id(p): name for name, p in model.named_parameters() if name in absent}
    pooler = getattr(base, "pooler", None)
    for parameter in pooler.parameters() if isinstance(pooler, nn.Module) else ():
        needed.pop(id(parameter), None)
    if needed:
        first = min(needed.values())
        raise ConfigError(
            [
                f"model.name={cfg.name}: {len(needed)} weights are missing or have another shape, e.g. {first}"
            ]
        )


def _load(loader: Any, cfg: ModelConfig, **options: Any) -> Any:
    """Loads with one of transformers' Auto classes; never runs code that comes with a model."""
    source = locate(cfg.name)
    if (
        Path(source) / "adapter_config.json"
    ).is_file():  # transformers would load the model that the file names
        raise ConfigError(
            [
                f"model.name={cfg.name}: holds an adapter, not a model; merge it into its base model first"
            ]
        )
    try:
        return loader.from_pretrained(
            source, revision=cfg.revision or "main", trust_remote_code=False, **options
        )
    except (
        Exception
    ) as error:  # what a missing, damaged or foreign model raises has no common class
        raise refused(cfg, error) from error


def refused(cfg: ModelConfig, error: Exception) -> ConfigError:
    """What transformers does not take: an attention that the model or the machine has not, or the model itself."""
    reason = textwrap.shorten(
        f"{type(error).__name__}: {error}" if str(error) else type(error).__name__, 200
    )
    if re.search("attention implementation|flash_?attn|FlashAttention", str(error)):
        others = " or ".join(
            name for name in ("sdpa", "eager") if name != cfg.attention
        )
        return ConfigError(
            [
                f"model.attention={cfg.attention}: not available here ({reason}); use {others}"
            ]
        )
    if not cfg.pretrained and cfg.architecture is not None:
        return ConfigError(
            [f"model.architecture: its values do not fit together ({reason})"]
        )
    remedy = "check the name, the revision and the network, or give a folder"
    return ConfigError(
        [f"model.name={cfg.name}: could not be loaded ({reason}); {remedy}"]
    )


def _load_weights(
    cfg: ModelConfig, **options: Any
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Loads fp32 weights into memory of their own, and what transformers reports about them.

    Loaded, they are views of the mapped file, at whatever offset its header ends; MKL promises the same bits for the
    same product only where operands begin at a multiple of 64 bytes, as torch's own memory does.
    """
    loaded: tuple[PreTrainedModel, dict[str, Any]]
    loaded = _load(
        AutoModelForSequenceClassification,
        cfg,
        dtype=torch.float32,
        output_loading_info=True,
        **options,
    )
    for tensor in (*loaded[0].parameters(), *loaded[0].buffers()):
        tensor.data = tensor.data.clone()
    return loaded
