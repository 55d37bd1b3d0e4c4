"""Finds and loads pretrained models and tokenizers.

They are loaded as data. Code in a model's folder never runs.
"""

import os
import re
import textwrap
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import find_adapter_config_file
from transformers.utils import logging as transformers_logging

from ostinato.config import ModelConfig
from ostinato.config.model import ATTENTION
from ostinato.data import assets
from ostinato.errors import ConfigError
from ostinato.model.padding import settle_pad_token
from ostinato.redaction import redact
from ostinato.storage.paths import local_folder

# Reports of new head weights, and progress bars of milliseconds, do not help the user.
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()
# Without this, loading other weights than safetensors makes transformers send a request
# in the background: a third party converts the weights on the hub.
os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"

_ATTENTION_ERROR = re.compile("attention implementation|flash_?attn|FlashAttention")


def locate(name: str) -> str:
    """Turns `model.name` into a name that transformers loads.

    Args:
        name: an asset (`asset:...`), a local folder, or a name on the hub.

    Returns:
        The folder of the asset, the local folder, or the name on the hub.

    Raises:
        ConfigError: a path that does not exist.
        AssetError: an asset that could not be fetched.
    """
    if name.startswith("asset:"):
        return str(assets.fetch_model(name.removeprefix("asset:")))
    folder = local_folder(name)
    if folder is not None:
        return str(folder)
    if Path(name).is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise ConfigError([f"model.name={name}: the folder does not exist"])
    return name


def load_config(cfg: ModelConfig) -> PreTrainedConfig:
    """Loads the config of a pretrained model.

    Raises:
        ConfigError: not found, not reachable, or damaged, or it names a kernel.
    """
    config: PreTrainedConfig = _load(AutoConfig, cfg)
    check_attention(config, f"model.name={cfg.name}")
    return config


def check_attention(config: PreTrainedConfig, where: str) -> None:
    """Refuses a config with a kernel, which transformers would download and run.

    Args:
        config: of a model.
        where: where it comes from, for the message.

    Raises:
        ConfigError: the config, or one inside of it, names another attention than
            those of `model.attention`.
    """
    named = config._attn_implementation
    if named is not None and named not in ATTENTION:
        problem = f"{where}: its config names attn_implementation={named}"
        remedy = "remove this value, and choose with model.attention"
        raise ConfigError([f"{problem}, which is not one of transformers; {remedy}"])
    for key in config.sub_configs:
        inner = getattr(config, key, None)
        if isinstance(inner, PreTrainedConfig):
            check_attention(inner, where)


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
    """Loads a trained classifier in fp32, in evaluation mode, and its tokenizer.

    Args:
        folder: a Hugging Face folder.
        attention: attention implementation; None for the model's default.

    Raises:
        ConfigError: a damaged folder, or missing weights. transformers would replace
            missing weights with random numbers.
    """
    cfg = ModelConfig(name=str(folder.resolve()))
    config, tokenizer = load_parts(folder)
    options: dict[str, Any] = {"config": config}
    if attention is not None:
        options["attn_implementation"] = attention
    model, report = load_weights(cfg, **options)
    absent = absent_weights(report) & dict(model.named_parameters()).keys()
    if absent:
        first = min(absent)
        raise ConfigError(
            [f"model.name={folder}: not a trained classifier ({first} is missing)"]
        )
    return model.eval(), tokenizer


def load_parts(folder: Path) -> tuple[PreTrainedConfig, PreTrainedTokenizerBase]:
    """Loads the config and the tokenizer of a trained classifier, with one pad token.

    Raises:
        ConfigError: a damaged folder.
    """
    cfg = ModelConfig(name=str(folder.resolve()))
    config = load_config(cfg)
    tokenizer = load_tokenizer_files(cfg)
    settle_pad_token(config, tokenizer)
    return config, tokenizer


def load_weights(
    cfg: ModelConfig, **options: Any
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Loads a classifier with fp32 weights in memory of their own.

    transformers returns views of the mapped file, which start at any offset. MKL
    guarantees the same bits for the same product only for operands that are aligned to
    64 bytes. torch aligns its own memory in this way, so the weights are copied.

    Args:
        cfg: the model to load.
        **options: further arguments of `from_pretrained`.

    Returns:
        The model, and the loading report of transformers.

    Raises:
        ConfigError: not found, not reachable, or damaged.
    """
    model: PreTrainedModel
    report: dict[str, Any]
    _refuse_adapter(cfg)
    model, report = _load(
        AutoModelForSequenceClassification,
        cfg,
        dtype=torch.float32,
        output_loading_info=True,
        **options,
    )
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()
    return model, report


def absent_weights(report: dict[str, Any]) -> set[str]:
    """Returns the weights that a checkpoint lacks or has in another shape.

    Args:
        report: the loading report of transformers.
    """
    absent = {str(key) for key in report["missing_keys"]}
    for key, *_ in report["mismatched_keys"]:
        absent.add(str(key))
    return absent


def _refuse_adapter(cfg: ModelConfig) -> None:
    """Refuses a folder or a repository with an adapter.

    If peft is installed, transformers would load the model that the adapter names.
    """
    source, revision = locate(cfg.name), cfg.revision or "main"
    try:
        adapter = find_adapter_config_file(source, revision=revision)
    except Exception as error:  # as in `_load`
        raise refused(cfg, error) from error
    if adapter is not None:
        problem = f"model.name={cfg.name}: contains an adapter, not a model"
        remedy = "for a run of ostinato, name the run folder, or export format=merged"
        raise ConfigError([f"{problem}; {remedy}; otherwise merge it with peft"])


def _load(loader: Any, cfg: ModelConfig, **options: Any) -> Any:
    """Loads with one of transformers' Auto classes."""
    source = locate(cfg.name)
    revision = cfg.revision or "main"
    try:
        return loader.from_pretrained(
            source, revision=revision, trust_remote_code=False, **options
        )
    except Exception as error:  # missing and damaged models raise errors of any class
        raise refused(cfg, error) from error


def refused(cfg: ModelConfig, error: Exception) -> ConfigError:
    """Turns an error of transformers or torch into a message for the user.

    Args:
        cfg: the model that could not be loaded or built.
        error: the error that was raised.
    """
    kind = type(error).__name__
    text = redact(str(error))  # before it is cut
    reason = textwrap.shorten(f"{kind}: {text}" if text else kind, 200)
    if _ATTENTION_ERROR.search(text):
        others = [name for name in ("sdpa", "eager") if name != cfg.attention]
        problem = f"model.attention={cfg.attention}: not available here ({reason})"
        return ConfigError([f"{problem}; use {' or '.join(others)}"])
    if not cfg.pretrained and cfg.architecture is not None:
        problem = f"model.architecture: its values do not fit together ({reason})"
        return ConfigError([problem])
    remedy = "check the name, the revision and the network, or use a local folder"
    return ConfigError(
        [f"model.name={cfg.name}: could not be loaded ({reason}); {remedy}"]
    )
