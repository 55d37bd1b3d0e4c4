"""The tokenizer and the classifier: found, loaded, and the head initialised from its own seed."""

import os
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from ostinato import assets
from ostinato.atomic import atomic_folder
from ostinato.config import ModelConfig, Task
from ostinato.errors import ConfigError
from ostinato.fingerprint import digest_file
from ostinato.padding import settle_pad_token
from ostinato.run_dir import RunDir, read_json

# Reports of new head weights and bars for milliseconds say nothing that a user asked for.
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()
# Else loading weights that are no safetensors asks a third party, in the background, to convert them on the hub.
os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"

_DROPOUT = (
    "hidden_dropout_prob",
    "dropout",
    "embedding_dropout",
    "mlp_dropout",
    "seq_classif_dropout",
    "pooler_dropout",
)
_ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout")
_SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}


def locate(name: str) -> str:
    """Turns `model.name` into what transformers loads: a folder of an asset, a local folder, or a hub name.

    Raises:
        ConfigError: a path that is not there.
        AssetError: an asset that could not be fetched.
    """
    if name.startswith("asset:"):
        return str(assets.fetch_model(name.removeprefix("asset:")))
    path = Path(name).expanduser()
    if path.is_dir():
        return str(path)
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise ConfigError([f"model.name={name}: no such folder"])
    return name


def load_tokenizer(cfg: ModelConfig, texts: Iterable[str]) -> PreTrainedTokenizerBase:
    """Loads the model's tokenizer; for random weights without files, makes one of the words of `texts`.

    Raises:
        ConfigError: not found, or not reachable.
    """
    if _from_scratch(cfg):
        tokenizer: PreTrainedTokenizerBase = _word_tokenizer(texts, _architecture(cfg).vocab_size)
    else:
        tokenizer = _load(AutoTokenizer, cfg)
    # Saved with the model, so that prediction truncates as training did.
    tokenizer.model_max_length = cfg.max_length
    return tokenizer


def build_classifier(
    cfg: ModelConfig, tokenizer: PreTrainedTokenizerBase, labels: Sequence[str], task: Task, head_seed: int
) -> PreTrainedModel:
    """Loads the encoder in fp32 and puts a new head on it.

    Args:
        cfg: what to load.
        tokenizer: gives the special tokens to a model from scratch.
        labels: names of the classes, stored as the model's `id2label`; empty for regression.
        task: chooses `problem_type`.
        head_seed: the head's weights (all weights, with pretrained=false) are a function of this seed alone.

    Raises:
        ConfigError: not found, not reachable, or a maximum length that the model's positions do not reach.
    """
    names = list(labels) or ["value"]
    overrides: dict[str, Any] = {
        "id2label": dict(enumerate(names)),
        "label2id": {name: number for number, name in enumerate(names)},
        "problem_type": f"{task.value}_classification" if task is not Task.regression else "regression",
    }
    config = _architecture(cfg) if _from_scratch(cfg) else _load(AutoConfig, cfg)
    if not _from_scratch(cfg):
        settle_pad_token(config, tokenizer)
    _check_length(cfg, config)
    for key, value in {**overrides, **_dropouts(cfg, config)}.items():
        setattr(config, key, value)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(head_seed)  # just before the only draws: nothing earlier can move the head
        if cfg.pretrained:
            return _load_model(cfg, config=config, attn_implementation=cfg.attention)
        if _from_scratch(cfg):
            _name_special_tokens(config, tokenizer)
        try:
            model: PreTrainedModel = AutoModelForSequenceClassification.from_config(
                config, attn_implementation=cfg.attention, dtype=torch.float32
            )
        except (ImportError, ValueError) as error:
            raise _refused(cfg, error) from error
        return model


def load_trained(run: RunDir, attention: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Loads the best weights of a run, in fp32, with their tokenizer.

    Raises:
        ConfigError: nothing there, or weights that are not those that the run recorded.
    """
    if not (run.best / "config.json").is_file():
        raise ConfigError([f"run={run.path}: holds no trained model (no best/); has the run finished?"])
    verify_best(run)
    cfg = ModelConfig(name=str(run.best.resolve()))
    config, tokenizer = _load(AutoConfig, cfg), _load(AutoTokenizer, cfg)
    settle_pad_token(config, tokenizer)
    return _load_model(cfg, config=config, attn_implementation=attention).eval(), tokenizer


def verify_best(run: RunDir) -> None:
    """Compares the weights in `best/` with what the run recorded at its end; unfinished runs have no record yet.

    Raises:
        ConfigError: they are missing, damaged or changed.
    """
    if not run.fingerprint.is_file():
        return
    if not run.best_weights.is_file():
        raise ConfigError([f"{run.best_weights}: missing"])
    try:
        found = digest_file(run.best_weights)
    except OSError as error:
        raise ConfigError([f"{run.best_weights}: not readable ({error.strerror})"]) from None
    if found != read_json(run.fingerprint).get("best_weights"):
        raise ConfigError(
            [f"{run.best_weights}: damaged or changed since the run wrote it; train again, or restore the file"]
        )


def save_classifier(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes a standard Hugging Face folder, whole or not at all; an older one of that name gives way."""
    with atomic_folder(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)


def _from_scratch(cfg: ModelConfig) -> bool:
    return not cfg.pretrained and cfg.architecture is not None


def _architecture(cfg: ModelConfig) -> PreTrainedConfig:
    values = dict(cfg.architecture or {})
    model_type = values.pop("model_type", None)
    try:
        return AutoConfig.for_model(model_type, **values)
    except ValueError as error:
        raise ConfigError(
            [f"model.architecture.model_type={model_type}: transformers knows no such architecture"]
        ) from error


def _load(loader: Any, cfg: ModelConfig, **options: Any) -> Any:
    source = locate(cfg.name)
    try:
        return loader.from_pretrained(source, revision=cfg.revision or "main", **options)
    except (ImportError, OSError, ValueError, SafetensorError) as error:
        raise _refused(cfg, error) from error


def _refused(cfg: ModelConfig, error: Exception) -> ConfigError:
    """What transformers does not take: an attention that the model or the machine has not, or the model itself."""
    reason = textwrap.shorten(str(error), 200)
    if re.search("attention implementation|flash_?attn|FlashAttention", str(error)):
        others = " or ".join(name for name in ("sdpa", "eager") if name != cfg.attention)
        return ConfigError([f"model.attention={cfg.attention}: not to be had here ({reason}); take {others}"])
    remedy = "check the name, the revision and the network, or give a folder"
    return ConfigError([f"model.name={cfg.name}: could not be loaded ({reason}); {remedy}"])


def _load_model(cfg: ModelConfig, **options: Any) -> PreTrainedModel:
    """Loads fp32 weights into memory of their own.

    Loaded, they are views of the mapped file, at whatever offset its header ends; MKL promises the same bits for the
    same product only where operands begin at a multiple of 64 bytes, as torch's own memory does.
    """
    model: PreTrainedModel = _load(AutoModelForSequenceClassification, cfg, dtype=torch.float32, **options)
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()
    return model


def _check_length(cfg: ModelConfig, config: PreTrainedConfig) -> None:
    positions = getattr(config, "max_position_embeddings", None)
    if config.model_type in ("roberta", "xlm-roberta", "camembert") and positions:
        positions -= 2  # their first position is pad_token_id + 1
    if positions and 0 < positions < cfg.max_length:  # XLNet's -1: as many as there are tokens
        raise ConfigError(
            [f"model.max_length={cfg.max_length}: the model has {positions} positions; take at most {positions}"]
        )


def _dropouts(cfg: ModelConfig, config: PreTrainedConfig) -> dict[str, float]:
    chosen = {**dict.fromkeys(_DROPOUT, cfg.dropout), **dict.fromkeys(_ATTENTION_DROPOUT, cfg.attention_dropout)}
    if getattr(config, "classifier_dropout", None) is not None:
        chosen["classifier_dropout"] = cfg.dropout
    return {key: value for key, value in chosen.items() if value is not None and hasattr(config, key)}


def _word_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A tokenizer of the most frequent words, ties by alphabet: the same texts give the same one."""
    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    words = sorted(counts, key=lambda word: (-counts[word], word))
    vocabulary = list(dict.fromkeys([*_SPECIAL.values(), *words]))[:vocab_size]
    backend = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token=_SPECIAL["unk_token"])
    )
    backend.normalizer, backend.pre_tokenizer = normalizer, splitter
    cls, sep = _SPECIAL["cls_token"], _SPECIAL["sep_token"]
    backend.post_processor = processors.BertProcessing((sep, vocabulary.index(sep)), (cls, vocabulary.index(cls)))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, model_input_names=["input_ids", "token_type_ids", "attention_mask"], **_SPECIAL
    )


def _name_special_tokens(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    for role in ("pad", "cls", "sep"):
        setattr(config, f"{role}_token_id", getattr(tokenizer, f"{role}_token_id"))
    config.bos_token_id, config.eos_token_id = config.cls_token_id, config.sep_token_id
