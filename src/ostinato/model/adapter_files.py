"""Adds an adapter to the base model of a run, and loads the adapter in `best/`.

The base model comes from the run's own config. `adapter_config.json` is for other
programs and is never read: it could name another model.
"""

from dataclasses import replace
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ostinato.config import AdapterConfig, Head, ModelConfig, RunConfig, Task
from ostinato.data.long_texts import LongTexts
from ostinato.errors import ConfigError
from ostinato.model.adapter import (
    add_adapter,
    base_weights,
    check_peft,
    load_own_weights,
    own_weights,
    shapes_of,
)
from ostinato.model.build import build_classifier
from ostinato.model.freezing import freeze
from ostinato.model.frozen_dtype import round_matrices
from ostinato.model.pretrained import load_parts, locate
from ostinato.record.digests import digest_weights
from ostinato.record.files import read_provenance
from ostinato.record.schema import Base
from ostinato.redaction import redact
from ostinato.run_dir import (
    ADAPTER_WEIGHTS,
    RunDir,
    read_config,
)
from ostinato.seeding import Seeds


def adapt(model: PreTrainedModel, cfg: ModelConfig, seed: int) -> Base | None:
    """Freezes layers, and adds the adapter if the config has one, in place.

    Args:
        model: the classifier in fp32, on the CPU.
        cfg: the model's config.
        seed: of the adapter's weights.

    Returns:
        What identifies the base model of the adapter; None without an adapter.

    Raises:
        ConfigError: the layers cannot be frozen, or the adapter does not fit.
    """
    freeze(model, cfg.freeze)
    if cfg.adapter is None:
        return None
    check_peft(cfg)
    base = _describe_base(model, cfg, cfg.adapter)
    round_matrices(model, cfg.dtype)
    add_adapter(model, cfg, seed, base["revision"])
    return base


def _describe_base(
    model: PreTrainedModel, cfg: ModelConfig, adapter: AdapterConfig
) -> Base:
    return {
        "name": redact(cfg.name),
        "revision": _commit_of(cfg) or cfg.revision,
        "weights": digest_weights(base_weights(model, adapter)),
    }


def _commit_of(cfg: ModelConfig) -> str | None:
    """The commit of a model of the Hub that was loaded; None for other models."""
    if not cfg.pretrained or Path(locate(cfg.name)).exists():
        return None
    file = try_to_load_from_cache(cfg.name, "config.json", revision=cfg.revision)
    return Path(file).parent.name if isinstance(file, str) else None


def load_adapted(
    run: RunDir, config: RunConfig
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Builds the base model of a run, adds the adapter in `best/`, and verifies both.

    Args:
        run: the run's folder.
        config: its config.

    Returns:
        The classifier in fp32, in evaluation mode, and its tokenizer.

    Raises:
        ConfigError: peft is missing, the base model cannot be loaded or has other
            weights than in the run, or the adapter is of another model.
    """
    check_peft(config.model)
    _refuse_references(run)
    recorded = _recorded_base(run)
    trained, tokenizer = load_parts(run.best)
    labels: list[str] = []
    if config.data.task is not Task.regression:
        labels = [str(name) for name in trained.id2label.values()]
    seeds = Seeds(config.training.seed, config.training.seeds)
    # The file has the head. A branch of the Hub can have moved since the run.
    revision = recorded["revision"] or config.model.revision
    cfg = replace(config.model, head=Head.new, revision=revision)
    head_seed = seeds.derive("head")
    model = build_classifier(cfg, tokenizer, labels, config.data.task, head_seed)
    found = adapt(model, cfg, seeds.derive("adapter"))
    if found is None or found["weights"] != recorded["weights"]:
        problem = f"model.name={cfg.name} has other weights than the base model"
        remedy = "restore that model, or train again"
        raise ConfigError([f"run={run.path}: {problem} of this run; {remedy}"])
    LongTexts.of_model(trained).write(model.config)
    _load_weights(model, run.best / ADAPTER_WEIGHTS)
    return model.eval(), tokenizer


def _refuse_references(run: RunDir) -> None:
    """Refuses a base model that an environment variable names.

    The name goes to the Hub, and in a foreign folder the variable can be a secret.
    """
    model = read_config(run).get("model") or {}
    for key in ("name", "revision"):
        if "${" in str(model.get(key)):
            problem = f"{run.config}: model.{key}={model[key]} is not a plain name"
            raise ConfigError([f"{problem}; a run with an adapter needs one"])


def _recorded_base(run: RunDir) -> Base:
    base = read_provenance(run).get("base")
    if base is None or "weights" not in base:
        problem = f"{run.provenance}: does not hold the base model of the adapter"
        raise ConfigError([f"{problem}; restore the file, or train again"])
    return {
        "name": str(base.get("name")),
        "revision": base.get("revision"),
        "weights": str(base["weights"]),
    }


def _load_weights(model: PreTrainedModel, path: Path) -> None:
    """Loads a file of an adapter.

    Raises:
        ConfigError: it is missing, damaged, or of another model.
    """
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        reason = " ".join(redact(str(error)).split())[:160]
        raise ConfigError([f"{path}: missing or damaged ({reason})"]) from None
    if shapes_of(weights) != shapes_of(own_weights(model)):
        problem = "is not the adapter that the config of the run describes"
        raise ConfigError([f"{path}: {problem}; restore both files"])
    load_own_weights(model, weights)
