"""Resolves `${...}` in a composed config, and hides values from the environment."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc

from ostinato import redaction

DROPPED = object()  # an `OnError` returns it to leave a key out

OnError = Callable[[str, str, Exception], Any]


def resolve(cfg: DictConfig, on_error: OnError) -> Any:
    """Resolves a config leaf by leaf, so that one error does not hide the others.

    Args:
        cfg: the composed config.
        on_error: called with the key, the value as typed and the error of a leaf that
            cannot be resolved. It returns the value to use, or `DROPPED`.

    Returns:
        Plain nested data.
    """
    unresolved = OmegaConf.to_container(cfg, resolve=False)
    return _resolve_node(cfg, unresolved, "", on_error)


def _resolve_node(cfg: DictConfig, node: Any, key: str, on_error: OnError) -> Any:
    if isinstance(node, dict):
        resolved = {}
        for name, child in node.items():
            value = _resolve_node(cfg, child, f"{key}.{name}".lstrip("."), on_error)
            if value is not DROPPED:
                resolved[name] = value
        return resolved
    if isinstance(node, list):
        return [
            _resolve_node(cfg, child, f"{key}[{index}]", on_error)
            for index, child in enumerate(node)
        ]
    return _resolve_leaf(cfg, node, key, on_error)


def _resolve_leaf(cfg: DictConfig, leaf: Any, key: str, on_error: OnError) -> Any:
    value = leaf
    if isinstance(leaf, str) and "${" in leaf:
        try:
            value = OmegaConf.select(cfg, key)
        except OmegaConfBaseException as error:
            return on_error(key, leaf, error)
        if OmegaConf.is_config(value):
            value = OmegaConf.to_container(value, resolve=True)
    return value.value if isinstance(value, Enum) else value


def masked(cfg: DictConfig) -> dict[str, Any]:
    """The resolved config as plain data, without values from the environment.

    A value of `${oc.env:NAME}` is that reference.
    """

    def keep_reference(key: str, value: str, error: Exception) -> str:
        # For example, a reference is not a valid number.
        return value

    with _environment_masked():
        return resolve(cfg.copy(), keep_reference)  # type: ignore[no-any-return]


def mask_environment() -> None:
    """Makes `${oc.env:NAME}` resolve to itself, for everything that is printed."""
    OmegaConf.register_new_resolver("oc.env", _reference, replace=True)


def _reference(*arguments: str | None) -> str:
    return "${oc.env:" + ",".join(str(argument) for argument in arguments) + "}"


@contextmanager
def _environment_masked() -> Iterator[None]:
    mask_environment()
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", _environment, replace=True)


def _environment(name: str, *default: str | None) -> str | None:
    """The resolver `${oc.env:NAME}`, which also registers the value as a secret."""
    value = oc.env(name, *default)
    if name in os.environ:
        redaction.register(os.environ[name], _reference(name))
    return value


OmegaConf.register_new_resolver("oc.env", _environment, replace=True)
