"""Resets the values that a model preset tuned, when a command line names another model.

A preset, for example `model=minilm`, tunes its learning rate for its own weights.
"""

import sys
from collections.abc import Sequence
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
from ostinato.config import TrainingConfig
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


def with_preset_resets(argv: list[str]) -> list[str]:
    """Adds the overrides of `preset_resets` after `model.name`, and prints them.

    Args:
        argv: arguments of scripts/train.py.
    """
    resets = preset_resets(overrides_of(argv))
    if not resets:
        return argv
    place = _place_of_model_name(argv)
    sys.stderr.write(
        f"{shown(argv[place])}: the preset was tuned for other weights; "
        f"defaults are used: {' '.join(resets)}\n"
    )
    before, after = argv[: place + 1], argv[place + 1 :]
    return [*before, *resets, *after]


def _place_of_model_name(argv: list[str]) -> int:
    names = [text.lstrip("+").startswith("model.name=") for text in argv]
    return names.index(True)


def preset_resets(overrides: Sequence[str]) -> list[str]:
    """Overrides that reset the values of the model preset to their defaults.

    Args:
        overrides: overrides of scripts/train.py, as typed.

    Returns:
        `training.KEY=DEFAULT` for each value that the preset tuned, unless the user or
        an experiment sets it. Empty if `model.name` does not name another model, and
        for an invalid command line, which `find_problems` reports.
    """
    try:
        parsed = [OverridesParser.create().parse_override(text) for text in overrides]
        for override in parsed:
            if override.key_or_group == "model.name":
                return _resets(parsed, _model_names(override))
    except _INVALID:
        pass
    return []


def _resets(parsed: list[Override], model_names: list[str]) -> list[str]:
    cfg = _compose_first(parsed)
    choices = cfg.hydra.runtime.choices
    preset = _read_yaml(CONF / "model" / f"{choices.model}.yaml")
    if set(model_names) <= {preset.get("model", {}).get("name")}:
        return []

    experiment = _read_yaml(CONF / "experiment" / f"{choices.get('experiment')}.yaml")
    set_by_experiment = experiment.get("training", {})
    set_by_user = {override.key_or_group for override in parsed}
    defaults = TrainingConfig()
    resets = []
    for name, tuned in preset.get("training", {}).items():
        key = f"training.{name}"
        if key in set_by_user or name in set_by_experiment:
            continue
        if OmegaConf.select(cfg, key) == _number(tuned):
            resets.append(f"{key}={_as_typed(getattr(defaults, name))}")
    return resets


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
    # YAML 1.1 reads 1e-4 as a string.
    return float(value) if isinstance(value, str) else value


def _as_typed(value: Any) -> str:
    return "null" if value is None else str(value)
