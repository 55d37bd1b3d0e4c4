"""Lists the keys of a config class, for `--help` and the README."""

import dataclasses
from collections.abc import Iterator
from enum import Enum
from typing import Any


def fields(config: type, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Lists every key of a config class, depth first.

    Args:
        config: the class.
        prefix: text before each key, for example `training.`.

    Yields:
        (key with dots, default as typed on a command line, documentation).
    """
    defaults = config.__dataclass_fields__  # type: ignore[attr-defined]
    for name, info in config.__pydantic_fields__.items():  # type: ignore[attr-defined]
        key = f"{prefix}{name}"
        nested = _nested_class(info.annotation)
        if nested is not None:
            yield from fields(nested, f"{key}.")
            continue
        default = _as_typed(_default(defaults[name]))
        documentation = " ".join((info.description or "").split())
        yield key, default, documentation


def _nested_class(annotation: Any) -> type | None:
    """The config class that an annotation names, also as `Class | None`."""
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and dataclasses.is_dataclass(candidate):
            return candidate
    return None


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _as_typed(default: Any) -> str:
    if isinstance(default, Enum):
        return str(default.value)
    if default is None:
        return "null"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return str(list(default))
    return str(default)
