"""Turns a composed config into an instance of its config class."""

import re
from enum import Enum
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from pydantic import TypeAdapter, ValidationError

from ostinato.cli.interpolation import DROPPED, resolve
from ostinato.cli.schemas import command_of, keys_of, with_documentation
from ostinato.cli.wording import explain
from ostinato.config import MISSING
from ostinato.errors import ConfigError

_Config = TypeVar("_Config")
_LINK = re.compile(r"\$\{\w[\w.]*\}")  # to another key, for example ${seed}


def to_config(cfg: DictConfig, schema: type[_Config]) -> _Config:
    """Resolves and validates a composed config.

    Args:
        cfg: the composed config, without Hydra's own part.
        schema: the config class.

    Raises:
        ConfigError: names every value that is missing, unresolvable or invalid.
    """
    command = command_of(schema)
    problems: list[str] = []

    def report(key: str, value: str, error: Exception) -> Any:
        problem = f"{key}={value}: {explain(error)}"
        problems.append(with_documentation(command, key, problem))
        return DROPPED

    values = resolve(cfg, report)
    unresolved = OmegaConf.to_container(cfg, resolve=False)
    for key in _missing_keys(unresolved):
        problem = f"{key} is missing"
        problems.append(with_documentation(command, key, problem))
    try:
        config: _Config = TypeAdapter(schema).validate_python(values)
    except ValidationError as error:
        problems += _invalid_values(error, unresolved, command)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return config


def _missing_keys(node: Any, key: str = "") -> list[str]:
    if node == MISSING:
        return [key]
    missing = []
    if isinstance(node, dict):
        for name, child in node.items():
            missing += _missing_keys(child, f"{key}.{name}".lstrip("."))
    return missing


def _invalid_values(error: ValidationError, unresolved: Any, command: str) -> list[str]:
    problems = []
    for item in error.errors():
        if item["type"] == "value_error":
            # A validator of a config class wrote the whole line.
            problems.append(str(item["ctx"]["error"]))
            continue
        key = _known_key(item["loc"], command)
        value = _value_as_typed(unresolved, key)
        if value == MISSING or (isinstance(value, str) and _LINK.fullmatch(value)):
            continue  # reported as missing, or for the key that the link names
        message = item["msg"].removeprefix("Input ").replace("should", "must")
        problem = f"{key}={value}: {message}"
        problems.append(with_documentation(command, key, problem))
    return problems


def _known_key(location: tuple[int | str, ...], command: str) -> str:
    """The key at a location, which can also be in a list or in a branch of a union."""
    known = keys_of(command)
    parts = [str(part) for part in location]
    while len(parts) > 1 and ".".join(parts) not in known:
        parts.pop()
    return ".".join(parts)


def _value_as_typed(unresolved: Any, key: str) -> Any:
    value = unresolved
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value.value if isinstance(value, Enum) else value
