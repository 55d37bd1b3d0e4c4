"""Every key of a config with its default and documentation, as `--help` and the README show them."""

import dataclasses
from collections.abc import Iterator
from enum import Enum
from typing import Any


def fields(config: type, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Lists every key of a config class as (dotted key, default as typed, documentation), depth first."""
    defaults = config.__dataclass_fields__  # type: ignore[attr-defined]
    for name, info in config.__pydantic_fields__.items():  # type: ignore[attr-defined]
        nested = _nested(info.annotation)
        key = f"{prefix}{name}"
        if nested is not None:
            yield from fields(nested, f"{key}.")
        else:
            default = defaults[name]
            made = default.default_factory is not dataclasses.MISSING
            yield (
                key,
                _as_typed(default.default_factory() if made else default.default),
                " ".join((info.description or "").split()),
            )


def _nested(annotation: Any) -> type | None:
    candidates = (annotation, *getattr(annotation, "__args__", ()))
    return next(
        (c for c in candidates if dataclasses.is_dataclass(c) and isinstance(c, type)),
        None,
    )


def _as_typed(default: Any) -> str:
    if isinstance(default, Enum):
        return str(default.value)
    if isinstance(default, bool) or default is None:
        return {None: "null", True: "true", False: "false"}[default]
    return str(list(default)) if isinstance(default, tuple) else str(default)
