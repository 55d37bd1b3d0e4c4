"""Reads the JSON and YAML of records: any text gives a value or a ValueError."""

import json
from typing import Any

import yaml

_MAX_DEPTH = 32
"""OmegaConf, which reads configs, reaches Python's recursion limit beyond 50."""


class _Loader(yaml.SafeLoader):
    """Reads plain values without aliases, which can repeat a value endlessly."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Composes the next node.

        Raises:
            ValueError: it is an alias.
        """
        if self.check_event(yaml.AliasEvent):
            raise ValueError("holds an alias")
        return super().compose_node(parent, index)


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise _too_deep() from None
    return _checked(value)


def parse_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        ValueError: it is not YAML with plain values, or nested too deeply; the message
            is one line.
    """
    try:
        value = yaml.load(text, _Loader)
    except RecursionError:
        raise _too_deep() from None
    except yaml.YAMLError as error:
        raise ValueError(str(error).splitlines()[0]) from None
    except (AttributeError, LookupError, TypeError):  # of values like !!int ''
        raise ValueError("a value does not fit its tag") from None
    return _checked(value)


def _checked(value: Any) -> Any:
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [item for outer in level for item in _items(outer)]
        if not level:
            return value
    raise _too_deep()


def _items(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _too_deep() -> ValueError:
    return ValueError(f"nested more than {_MAX_DEPTH} levels deep")
