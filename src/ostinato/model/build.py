"""The tokenizer and the classifier: found, loaded, and the head initialised from its own seed."""

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import SAFE_WEIGHTS_NAME

from ostinato.config import Head, ModelConfig, Task
from ostinato.errors import ConfigError, UserError
from ostinato.model.architecture import (
    head_names,
    num_positions,
    skeleton,
    wanted_dropout,
)
from ostinato.model.padding import settle_pad_token
from ostinato.model.pretrained import (
    load_config,
    load_folder,
    load_tokenizer_files,
    load_with_head,
    locate,
    refused,
    trained_for,
)
from ostinato.model.words import SPECIAL, word_tokenizer
from ostinato.record.digests import digest_file
from ostinato.record.drift import changed_config
from ostinato.record.files import read_fingerprint
from ostinato.run_dir import RunDir
from ostinato.storage.atomic import atomic_folder

__all__ = [
    "build_classifier",
    "load_tokenizer",
    "load_trained",
    "locate",
    "save_classifier",
    "verify_best",
]


def load_tokenizer(cfg: ModelConfig, texts: Iterable[str]) -> PreTrainedTokenizerBase:
    """Loads the model's tokenizer; for random weights without files, makes one of the words of `texts`.

    Raises:
        ConfigError: not found, or not reachable.
    """
    if _from_scratch(cfg):
        vocab_size = _architecture(cfg).vocab_size
        if vocab_size <= len(SPECIAL):
            needed = f"the special tokens need {len(SPECIAL)}; use a larger vocabulary"
            raise ConfigError([f"model.architecture.vocab_size={vocab_size}: {needed}"])
        tokenizer: PreTrainedTokenizerBase = word_tokenizer(texts, vocab_size)
    else:
        tokenizer = load_tokenizer_files(cfg)
    # Saved with the model, so that prediction truncates as training did.
    tokenizer.model_max_length = cfg.max_length
    return tokenizer


def build_classifier(
    cfg: ModelConfig,
    tokenizer: PreTrainedTokenizerBase,
    labels: Sequence[str],
    task: Task,
    head_seed: int,
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
    if cfg.head is Head.keep and not cfg.pretrained:
        raise ConfigError(
            [
                "model.head=keep: model.pretrained=false has no trained head; use model.head=auto"
            ]
        )
    names = list(labels) or ["value"]
    overrides: dict[str, Any] = {
        "id2label": dict(enumerate(names)),
        "label2id": {name: number for number, name in enumerate(names)},
        "problem_type": f"{task.value}_classification"
        if task is not Task.regression
        else "regression",
    }
    config = _architecture(cfg) if _from_scratch(cfg) else load_config(cfg)
    own = trained_for(config)
    try:
        if not _from_scratch(cfg):
            settle_pad_token(config, tokenizer)
        for key, value in overrides.items():
            setattr(config, key, value)
        if _from_scratch(cfg):
            _name_special_tokens(config, tokenizer)
        frame = skeleton(config)
        if getattr(config, "num_hidden_layers", 1) < 1:
            raise ConfigError(
                [f"model.name={cfg.name}: the config has no layers (num_hidden_layers)"]
            )
        _check_length(cfg, frame)
        for key, value in wanted_dropout(
            config, cfg.dropout, cfg.attention_dropout
        ).items():
            setattr(config, key, value)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(
                head_seed
            )  # just before the only draws: nothing earlier can move the head
            if not cfg.pretrained:
                model: PreTrainedModel = AutoModelForSequenceClassification.from_config(
                    config,
                    attn_implementation=cfg.attention,
                    dtype=torch.float32,
                    trust_remote_code=False,
                )
                return model
            return load_with_head(cfg, config, own, head_names(frame))
    except UserError:
        raise
    except (
        Exception
    ) as error:  # what values that do not fit together raise has no common class
        raise refused(cfg, error) from error


def load_trained(
    run: RunDir, attention: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Loads the best weights of a run, in fp32, with their tokenizer.

    Raises:
        ConfigError: nothing there, or files that are not those that the run recorded.
    """
    if not (run.best / "config.json").is_file():
        raise ConfigError(
            [
                f"run={run.path}: holds no trained model (no best/); has the run finished?"
            ]
        )
    verify_best(run)
    return load_folder(run.best, attention)


def verify_best(run: RunDir) -> None:
    """Compares the files in `best/` with what the run recorded at its end; unfinished runs have no record yet.

    Compares `config.yaml` too. Earlier versions recorded the weights alone, and no `best_files`.

    Raises:
        ConfigError: one is missing, damaged or changed.
    """
    if not run.fingerprint.is_file():
        return
    if changed := changed_config(run):
        raise ConfigError(
            [
                f"{run.config}: changed since the run ended ({line}); restore the file"
                for line in changed
            ]
        )
    record = read_fingerprint(run)
    weights = {run.best_weights.name: record["best_weights"]}
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
            raise ConfigError(
                [
                    f"{path}: damaged or changed since the run wrote it; restore the file, or train again"
                ]
            )


def digest_classifier(folder: Path) -> dict[str, str]:
    """SHA-256 of the files of a classifier that decide predictions, by name: all but the model card."""
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name != "README.md"
    )
    return {path.relative_to(folder).as_posix(): digest_file(path) for path in paths}


def save_classifier(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    weights: Path | None = None,
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


def _check_length(cfg: ModelConfig, frame: PreTrainedModel) -> None:
    positions = num_positions(frame)
    if positions is not None and cfg.max_length > positions:
        raise ConfigError(
            [
                f"model.max_length={cfg.max_length}: the model has {positions} positions; take at most {positions}"
            ]
        )


def _architecture(cfg: ModelConfig) -> PreTrainedConfig:
    values = dict(cfg.architecture or {})
    model_type = values.pop("model_type", None)
    try:
        known = AutoConfig.for_model(model_type).to_dict()
        for key in (
            values.keys() - known.keys()
        ):  # a model can read values that its config does not declare
            if near := get_close_matches(key, known, n=1, cutoff=0.9):
                guess = f"{model_type} has no such value; did you mean {near[0]}?"
                raise ConfigError([f"model.architecture.{key}: {guess}"])
        return AutoConfig.for_model(model_type, **values)
    except UserError:
        raise
    except ValueError as error:
        raise ConfigError(
            [
                f"model.architecture.model_type={model_type}: transformers knows no such architecture"
            ]
        ) from error
    except Exception as error:  # what a config's own checks raise has no common class
        raise ConfigError(
            [f"model.architecture: {textwrap.shorten(str(error), 200)}"]
        ) from error


def _name_special_tokens(
    config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase
) -> None:
    for role in ("pad", "cls", "sep"):
        setattr(config, f"{role}_token_id", getattr(tokenizer, f"{role}_token_id"))
    config.bos_token_id, config.eos_token_id = config.cls_token_id, config.sep_token_id
