"""The tokenizer and the classifier: found, loaded, and the head initialised from its own seed."""

import logging
import os
import re
import shutil
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
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
from transformers.utils import SAFE_WEIGHTS_NAME
from transformers.utils import logging as transformers_logging

from ostinato import assets
from ostinato.architecture import head_names, num_positions, skeleton, wanted_dropout
from ostinato.atomic import atomic_folder
from ostinato.config import Head, ModelConfig, Task
from ostinato.drift import changed_config
from ostinato.errors import ConfigError, UserError
from ostinato.fingerprint import digest_file
from ostinato.padding import settle_pad_token
from ostinato.paths import local_folder
from ostinato.run_dir import RunDir, read_json

# Reports of new head weights and bars for milliseconds say nothing that a user asked for.
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()
# Else loading weights that are no safetensors asks a third party, in the background, to convert them on the hub.
os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"

log = logging.getLogger(__name__)

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
    folder = local_folder(name)
    if folder is not None:
        return str(folder)
    if Path(name).is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise ConfigError([f"model.name={name}: no such folder"])
    return name


def load_tokenizer(cfg: ModelConfig, texts: Iterable[str]) -> PreTrainedTokenizerBase:
    """Loads the model's tokenizer; for random weights without files, makes one of the words of `texts`.

    Raises:
        ConfigError: not found, or not reachable.
    """
    if _from_scratch(cfg):
        vocab_size = _architecture(cfg).vocab_size
        if vocab_size <= len(_SPECIAL):
            needed = f"the special tokens need {len(_SPECIAL)}; use a larger vocabulary"
            raise ConfigError([f"model.architecture.vocab_size={vocab_size}: {needed}"])
        tokenizer: PreTrainedTokenizerBase = _word_tokenizer(texts, vocab_size)
    else:
        tokenizer = _load(AutoTokenizer, cfg)
    # Saved with the model, so that prediction truncates as training did.
    tokenizer.model_max_length = cfg.max_length
    return tokenizer


def build_classifier(
    cfg: ModelConfig, tokenizer: PreTrainedTokenizerBase, labels: Sequence[str], task: Task, head_seed: int
) -> PreTrainedModel:
    """Loads the encoder in fp32 and puts a new head on it, or keeps its head, as `cfg.head` asks.

    Args:
        cfg: what to load.
        tokenizer: gives the special tokens to a model from scratch.
        labels: names of the classes, stored as the model's `id2label`; empty for regression.
        task: chooses `problem_type`.
        head_seed: the head's weights (all weights, with pretrained=false) are a function of this seed alone.

    Raises:
        ConfigError: not found, not reachable, or values that do not fit the architecture.
    """
    names = list(labels) or ["value"]
    overrides: dict[str, Any] = {
        "id2label": dict(enumerate(names)),
        "label2id": {name: number for number, name in enumerate(names)},
        "problem_type": f"{task.value}_classification" if task is not Task.regression else "regression",
    }
    config = _architecture(cfg) if _from_scratch(cfg) else _load(AutoConfig, cfg)
    trained_for = _trained_for(config)
    try:
        if not _from_scratch(cfg):
            settle_pad_token(config, tokenizer)
        for key, value in overrides.items():
            setattr(config, key, value)
        if _from_scratch(cfg):
            _name_special_tokens(config, tokenizer)
        frame = skeleton(config)
        if getattr(config, "num_hidden_layers", 1) < 1:
            raise ConfigError([f"model.name={cfg.name}: the config has no layers (num_hidden_layers)"])
        _check_length(cfg, frame)
        for key, value in wanted_dropout(config, cfg.dropout, cfg.attention_dropout).items():
            setattr(config, key, value)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(head_seed)  # just before the only draws: nothing earlier can move the head
            if not cfg.pretrained:
                model: PreTrainedModel = AutoModelForSequenceClassification.from_config(
                    config, attn_implementation=cfg.attention, dtype=torch.float32, trust_remote_code=False
                )
                return model
            return _load_with_head(cfg, config, trained_for, head_names(frame))
    except UserError:
        raise
    except Exception as error:  # what values that do not fit together raise has no common class
        raise _refused(cfg, error) from error


def _trained_for(config: PreTrainedConfig) -> tuple[list[str], str | None]:
    """Label names and problem type of a checkpoint's own head, if it has one."""
    return list(map(str, (config.id2label or {}).values())), config.problem_type


def _load_with_head(
    cfg: ModelConfig, config: PreTrainedConfig, trained_for: tuple[list[str], str | None], head: Sequence[str]
) -> PreTrainedModel:
    """Loads pretrained weights; `config` already has the run's labels and task.

    Args:
        cfg: what to load, and what becomes of its head.
        config: the model's config.
        trained_for: label names and problem type of the checkpoint.
        head: names of the head's parameters.
    """
    labels, problem = trained_for
    options: dict[str, Any] = {"config": config, "attn_implementation": cfg.attention}
    same = labels == list(config.id2label.values()) and problem in (None, config.problem_type)
    if cfg.head is Head.keep and not same:
        theirs, ours = (textwrap.shorten(", ".join(names), 80) for names in (labels, config.id2label.values()))
        raise ConfigError(
            [f"model.head=keep: {cfg.name} was trained for other labels ({theirs}) than {ours}; use model.head=new"]
        )
    state = torch.get_rng_state()
    model, info = _load_model(cfg, ignore_mismatched_sizes=True, **options)
    absent = {str(key) for key in info["missing_keys"]} | {str(key[0]) for key in info["mismatched_keys"]}
    if same and cfg.head is not Head.new and absent.isdisjoint(head):
        log.info("model.head=%s: %s keeps its head, whose labels are those of the data", cfg.head.value, cfg.name)
        return model
    if cfg.head is Head.keep:
        raise ConfigError([f"model.head=keep: {cfg.name} has no trained head; use model.head=new"])
    if set(head) <= info["missing_keys"]:
        return model  # transformers has just made a new head
    torch.set_rng_state(state)
    weights = {name: tensor for name, tensor in model.state_dict().items() if name not in head}
    renewed: PreTrainedModel = type(model).from_pretrained(None, state_dict=weights, dtype=torch.float32, **options)
    return renewed


def load_trained(run: RunDir, attention: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Loads the best weights of a run, in fp32, with their tokenizer.

    Raises:
        ConfigError: nothing there, or files that are not those that the run recorded.
    """
    if not (run.best / "config.json").is_file():
        raise ConfigError([f"run={run.path}: holds no trained model (no best/); has the run finished?"])
    verify_best(run)
    cfg = ModelConfig(name=str(run.best.resolve()))
    config, tokenizer = _load(AutoConfig, cfg), _load(AutoTokenizer, cfg)
    settle_pad_token(config, tokenizer)
    model, _ = _load_model(cfg, config=config, attn_implementation=attention)
    return model.eval(), tokenizer


def verify_best(run: RunDir) -> None:
    """Compares the files in `best/` with what the run recorded at its end; unfinished runs have no record yet.

    Compares `config.yaml` too. Earlier versions recorded the weights alone, and no `best_files`.

    Raises:
        ConfigError: one is missing, damaged or changed.
    """
    if not run.fingerprint.is_file():
        return
    if changed := changed_config(run):
        raise ConfigError([f"{run.config}: changed since the run ended ({line}); restore the file" for line in changed])
    record = read_json(run.fingerprint)
    weights = {run.best_weights.name: record.get("best_weights")}
    for name, digest in (record.get("best_files", {}) | weights).items():
        path = run.best / name
        if path == run.calibration and not path.exists():
            continue  # decides calibrated predictions only, which ask for it
        if not path.is_file():
            raise ConfigError([f"{path}: missing; restore the file, or train again"])
        try:
            found = digest_file(path)
        except OSError as error:
            raise ConfigError([f"{path}: not readable ({error.strerror})"]) from None
        if found != digest:
            raise ConfigError([f"{path}: damaged or changed since the run wrote it; restore the file, or train again"])


def digest_classifier(folder: Path) -> dict[str, str]:
    """SHA-256 of the files of a classifier that decide predictions, by name: all but the model card."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "README.md")
    return {path.relative_to(folder).as_posix(): digest_file(path) for path in paths}


def save_classifier(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, weights: Path | None = None
) -> dict[str, str]:
    """Writes a standard Hugging Face folder, whole or not at all; an older one of that name gives way.

    Args:
        model: the classifier.
        tokenizer: its tokenizer.
        folder: where to write.
        weights: a weights file that takes the place of the model's own.

    Returns:
        SHA-256 of each file, by name, see `digest_classifier`.
    """
    tokenizer.backend_tokenizer.no_truncation()  # the file would hold what the last call asked for
    tokenizer.backend_tokenizer.no_padding()
    with atomic_folder(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        if weights is not None:
            shutil.copyfile(weights, temporary / SAFE_WEIGHTS_NAME)
        return digest_classifier(temporary)


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
    except Exception as error:  # what a config's own checks raise has no common class
        raise ConfigError([f"model.architecture: {textwrap.shorten(str(error), 200)}"]) from error


def _load(loader: Any, cfg: ModelConfig, **options: Any) -> Any:
    """Loads with one of transformers' Auto classes; never runs code that comes with a model."""
    source = locate(cfg.name)
    if (Path(source) / "adapter_config.json").is_file():  # transformers would load the model that the file names
        raise ConfigError([f"model.name={cfg.name}: holds an adapter, not a model; merge it into its base model first"])
    try:
        return loader.from_pretrained(source, revision=cfg.revision or "main", trust_remote_code=False, **options)
    except Exception as error:  # what a missing, damaged or foreign model raises has no common class
        raise _refused(cfg, error) from error


def _refused(cfg: ModelConfig, error: Exception) -> ConfigError:
    """What transformers does not take: an attention that the model or the machine has not, or the model itself."""
    reason = textwrap.shorten(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__, 200)
    if re.search("attention implementation|flash_?attn|FlashAttention", str(error)):
        others = " or ".join(name for name in ("sdpa", "eager") if name != cfg.attention)
        return ConfigError([f"model.attention={cfg.attention}: not to be had here ({reason}); take {others}"])
    remedy = "check the name, the revision and the network, or give a folder"
    return ConfigError([f"model.name={cfg.name}: could not be loaded ({reason}); {remedy}"])


def _load_model(cfg: ModelConfig, **options: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Loads fp32 weights into memory of their own, and what transformers reports about them.

    Loaded, they are views of the mapped file, at whatever offset its header ends; MKL promises the same bits for the
    same product only where operands begin at a multiple of 64 bytes, as torch's own memory does.
    """
    loaded: tuple[PreTrainedModel, dict[str, Any]]
    loaded = _load(AutoModelForSequenceClassification, cfg, dtype=torch.float32, output_loading_info=True, **options)
    for tensor in (*loaded[0].parameters(), *loaded[0].buffers()):
        tensor.data = tensor.data.clone()
    return loaded


def _check_length(cfg: ModelConfig, frame: PreTrainedModel) -> None:
    positions = num_positions(frame)
    if positions is not None and cfg.max_length > positions:
        raise ConfigError(
            [f"model.max_length={cfg.max_length}: the model has {positions} positions; take at most {positions}"]
        )


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
