"""Keeps secrets out of every output, and control characters out of terminals.

A value of `${oc.env:NAME}` is shown as that reference, and so is the value of each
variable in the file `.env`. The value of a variable in `_SECRET_VARIABLES` is shown as
`***`. Values shorter than six characters and plain numbers are not masked: masking `1`
or `true` everywhere would falsify other texts.
"""

import json
import logging
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

_SHORTEST = 6  # characters
_SECRET_VARIABLES = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "WANDB_API_KEY",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_ACCESS_KEY",
    "DATABRICKS_TOKEN",
)
# An environment variable, so that the processes that this one starts mask them too.
_ENV_FILE_VARIABLES = "OSTINATO_ENV_FILE_VARIABLES"
_LOGIN = re.compile(r"//[^/\s?#]+@")  # up to the last @: a password can contain one
_QUERY = re.compile(
    r"([?&][\w.-]*(?:token|key|password|passwd|pwd|secret|signature|sig)=)[^&\s#'\"]+",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"\$\{oc\.env:([A-Za-z_]\w*)(?:,[^}]*)?\}")
# C0 without tab and newline, C1, and marks that change the direction of a text.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)

_NUMBER = re.compile(r"[\d.,+-]+(e[+-]?\d+)?", re.IGNORECASE)
_MARKDOWN = re.compile(r"([\\|`\[\]])")

_references: dict[str, str] = {}


def register(value: str, reference: str) -> None:
    """Masks a value from now on: texts show `reference` instead.

    Short values and numbers are ignored.
    """
    if _can_be_masked(value):
        _references[value] = reference


def register_env_file(names: Iterable[str]) -> None:
    """Masks the values of the environment variables that the file `.env` names."""
    os.environ[_ENV_FILE_VARIABLES] = "\n".join(names)


def _can_be_masked(value: str) -> bool:
    return len(value) >= _SHORTEST and not _NUMBER.fullmatch(value)


def register_references(config: Any) -> None:
    """Registers the value of every `${oc.env:NAME}` in a config.

    Args:
        config: nested plain data, in which the references are not resolved.
    """
    if isinstance(config, str):
        for match in _REFERENCE.finditer(config):
            register(os.environ.get(match[1], ""), match[0])
        return

    items: Any = ()
    if isinstance(config, Mapping):
        items = config.values()
    elif isinstance(config, list | tuple):
        items = config
    for item in items:
        register_references(item)


def redact(text: str) -> str:
    """A text without secrets.

    Masks registered values, the values of known variables, and logins and tokens in
    addresses.
    """
    secrets = _values_of_secret_variables() | _references
    if any(value in text for value in secrets):
        longest_first = sorted(secrets, key=len, reverse=True)
        pattern = "|".join(re.escape(value) for value in longest_first)
        text = re.sub(pattern, lambda match: secrets[match[0]], text)
    text = _LOGIN.sub("//***@", text)
    return _QUERY.sub(r"\1***", text)


def _values_of_secret_variables() -> dict[str, str]:
    masks = {}
    for name in os.environ.get(_ENV_FILE_VARIABLES, "").split("\n"):
        value = os.environ.get(name, "")
        if _can_be_masked(value):
            masks[value] = f"${{oc.env:{name}}}"
    for name in _SECRET_VARIABLES:
        value = os.environ.get(name, "")
        if len(value) >= _SHORTEST:
            masks[value] = "***"
    return masks


def redacted(value: Any) -> Any:
    """A nested value with every text redacted. Keys are not changed."""
    if isinstance(value, Mapping):
        return {name: redacted(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    if isinstance(value, str):
        return redact(value)
    return value


def printable(text: str) -> str:
    """A text with control characters replaced, so that it cannot control a terminal."""
    return _CONTROL.sub("\ufffd", text)


def printable_json(value: Any, indent: int | None = None) -> str:
    """JSON that cannot control a terminal: the same value, with escapes in strings."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def shown(text: object) -> str:
    """A text for a terminal or a log: `redact` and `printable`."""
    return printable(redact(str(text)))


def inline(value: object) -> str:
    """A value for a line or a table cell of Markdown, with markup escaped."""
    one_line = " ".join(str(value).split())
    return _MARKDOWN.sub(r"\\\1", one_line).replace("<", "&lt;")


def plot_label(name: str) -> str:
    """A name as `shown`, for matplotlib, where an unescaped `$` starts a formula."""
    return shown(name).replace("$", r"\$")


class Formatter(logging.Formatter):
    """Formats log records and tracebacks without secrets and control characters."""

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record, as `shown` returns it."""
        return shown(super().format(record))
