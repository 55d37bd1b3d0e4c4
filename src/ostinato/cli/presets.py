"""Resets the values of a model preset, when a command line names another model.

A preset, for example `model=minilm`, tunes its learning rate for its own weights, and
describes their architecture.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ostinato.cli.arguments import overrides_of
from ostinato.cli.composition import hydra_composition
from ostinato.cli.schemas import CONF
from ostinato.cli.variations import values_of, variations
from ostinato.config import ModelConfig, TrainingConfig
from ostinato.redaction import shown

# What Hydra and OmegaConf raise for an invalid command line.
_INVALID = (
    HydraException,
    OmegaConfBaseException,
    ValueError,
    TypeError,
    AssertionError,
    RecursionError,
)

# Every model can use this attention, and `model.name` is what another model changes.
_ALWAYS_RIGHT = ("model.attention", "model.name")
_ADAPTER = "model/adapter"
# With these, `model.name` would only be a label of random weights.
_OF_ARCHITECTURE = {"model.pretrained": True, "model.architecture": None}


def with_preset_resets(argv: list[str]) -> list[str]:
    """Adds the overrides of `preset_resets` after `model.name`, and prints them.

    Args:
        argv: arguments of scripts/train.py.
    """
    change = _change_of_model(overrides_of(argv))
    if change is None:
        return argv
    place = _place_of_model_name(argv)
    typed = shown(argv[place])
    if change.resets:
        what = "the preset was tuned for other weights; defaults are used"
        sys.stderr.write(f"{typed}: {what}: {' '.join(change.resets)}\n")
    if change.kept:
        what = f"kept from {change.experiment}, which was made for other weights"
        sys.stderr.write(f"{typed}: {what}: {' '.join(change.kept)}\n")
    before, after = argv[: place + 1], argv[place + 1 :]
    return [*before, *change.resets, *after]


def _place_of_model_name(argv: list[str]) -> int:
    names = [text.lstrip("+").startswith("model.name=") for text in argv]
    return names.index(True)


def preset_resets(overrides: Sequence[str]) -> list[str]:
    """Overrides that reset the values of the model preset to their defaults.

    Args:
        overrides: overrides of scripts/train.py, as typed.

    Returns:
        `KEY=DEFAULT` for each value that the preset tuned, unless the user or an
        experiment sets it, and for the architecture, unless the user sets it. Empty if
        `model.name` does not name another model, and for an invalid command line, which
        `find_problems` reports.
    """
    change = _change_of_model(overrides)
    return [] if change is None else change.resets


@dataclass
class _Change:
    """What another model changes.

    Attributes:
        resets: overrides that reset values to their defaults.
        experiment: the experiment, as typed.
        kept: the values of `training` that the experiment sets, as overrides.
    """

    resets: list[str]
    experiment: str
    kept: list[str]


def _change_of_model(overrides: Sequence[str]) -> _Change | None:
    """What `model.name` changes; None if it does not name another model."""
    try:
        parsed = [OverridesParser.create().parse_override(text) for text in overrides]
        for override in parsed:
            if override.key_or_group == "model.name":
                return _change_to(parsed, _model_names(override))
    except _INVALID:
        pass
    return None


def _change_to(parsed: list[Override], model_names: list[str]) -> _Change | None:
    cfg = _compose_first(parsed)
    choices = cfg.hydra.runtime.choices
    preset = _read_yaml(CONF / "model" / f"{choices.model}.yaml")
    chosen = choices.get("experiment")
    experiment = _read_yaml(CONF / "experiment" / f"{chosen}.yaml")
    own_model = {**preset.get("model", {}), **experiment.get("model", {})}
    if set(model_names) <= {own_model.get("name")}:
        return None

    typed = [item.key_or_group for item in parsed]
    set_by_user = set(map(_group_of_architecture, typed))
    resets = []
    for group, defaults in (("training", TrainingConfig()), ("model", ModelConfig())):
        set_by_experiment = experiment.get(group, {})
        for name, own in preset.get(group, {}).items():
            key = f"{group}.{name}"
            is_kept = name in set_by_experiment or key in _ALWAYS_RIGHT
            if key in set_by_user or key in _OF_ARCHITECTURE or is_kept:
                continue
            if OmegaConf.select(cfg, key) == _number(own):
                resets.append(f"{key}={_as_typed(getattr(defaults, name))}")
    for key, default in _OF_ARCHITECTURE.items():
        if key not in set_by_user and OmegaConf.select(cfg, key) != default:
            resets.append(f"{key}={_as_typed(default)}")
    of_preset = _overridden_groups(preset) - _overridden_groups(experiment)
    is_typed = any(key.replace("/", ".").startswith("model.adapter") for key in typed)
    if _ADAPTER in of_preset and not is_typed:
        resets.append(f"{_ADAPTER}=none")
    kept = []
    for name, value in experiment.get("training", {}).items():
        if f"training.{name}" not in set_by_user:
            kept.append(f"training.{name}={_as_typed(value)}")
    return _Change(resets, f"experiment={chosen}", kept)


def _overridden_groups(preset: dict[str, Any]) -> set[str]:
    """The groups whose option a preset chooses, for example `model/adapter`."""
    groups = set()
    for entry in preset.get("defaults", []):
        if isinstance(entry, dict):
            groups |= {key.removeprefix("override /") for key in entry}
    return groups


def _group_of_architecture(key: str) -> str:
    """The key, or `model.architecture` for a key in it."""
    is_inside = key.startswith("model.architecture.")
    return "model.architecture" if is_inside else key


def _compose_first(parsed: list[Override]) -> DictConfig:
    first = next(variations(parsed))
    with hydra_composition():
        return compose("train", overrides=first.overrides, return_hydra_config=True)


def _model_names(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [str(override.value())]
    return [text.replace("\\", "").strip("'\"") for text in values_of(override)]


def _read_yaml(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    return yaml.safe_load(file.read_text(encoding="utf-8")) or {}


def _number(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return float(value)  # YAML 1.1 reads 1e-4 as a string
    except ValueError:
        return value


def _as_typed(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)
