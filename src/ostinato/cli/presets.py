"""What a model preset tuned for its own weights, and takes back when a command line names another model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ostinato.cli.composition import CONF, hydra_composition, values_of, variations
from ostinato.config import TrainingConfig


def own_recipe(overrides: Sequence[str]) -> list[str]:
    """Overrides that set the values of the model preset back to their defaults.

    Args:
        overrides: of scripts/train.py, as typed.

    Returns:
        `training.KEY=DEFAULT` for each value that the preset tuned and that neither the user nor an experiment sets;
        empty without a `model.name` of another model. What is wrong with the overrides is left to `find_problems`.
    """
    try:
        parsed = [OverridesParser.create().parse_override(text) for text in overrides]
        named = next(
            (override for override in parsed if override.key_or_group == "model.name"),
            None,
        )
        return [] if named is None else _taken_back(parsed, _names(named))
    except (
        HydraException,
        OmegaConfBaseException,
        ValueError,
        TypeError,
        AssertionError,
        RecursionError,
    ):
        return []


def _taken_back(parsed: list[Override], names: list[str]) -> list[str]:
    with hydra_composition():
        cfg = compose(
            "train",
            overrides=next(variations(parsed)).overrides,
            return_hydra_config=True,
        )
    choices = cfg.hydra.runtime.choices
    preset = _values(CONF / "model" / f"{choices.model}.yaml")
    if set(names) <= {preset.get("model", {}).get("name")}:
        return []
    experiment = _values(CONF / "experiment" / f"{choices.get('experiment')}.yaml").get(
        "training", {}
    )
    typed = {override.key_or_group for override in parsed}
    defaults = TrainingConfig()
    return [
        f"training.{key}={_as_typed(getattr(defaults, key))}"
        for key, tuned in preset.get("training", {}).items()
        if f"training.{key}" not in typed and key not in experiment
        if OmegaConf.select(cfg, f"training.{key}") == _number(tuned)
    ]


def _names(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [str(override.value())]
    return [text.replace("\\", "").strip("'\"") for text in values_of(override)]


def _values(file: Path) -> dict[str, Any]:
    return (
        yaml.safe_load(file.read_text(encoding="utf-8")) or {} if file.is_file() else {}
    )


def _number(value: Any) -> Any:
    return (
        float(value) if isinstance(value, str) else value
    )  # YAML 1.1 reads 1e-4 as a string


def _as_typed(value: Any) -> str:
    return "null" if value is None else str(value)
