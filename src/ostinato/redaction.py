"""What must not leave the process (secrets) and what must not reach a terminal (control characters).

A value of `${oc.env:NAME}` is shown as that reference; the value of a variable in `_SECRET_VARIABLES` as `***`.
Values shorter than six characters and plain numbers stay: to replace `1` or `true` everywhere would falsify texts.
"""

import logging
import os
import re
from collections.abc import Mapping
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
_LOGIN = re.compile(r"//[^/\s?#]+@")  # up to the last @: a password can hold one
_QUERY = re.compile(
    r"([?&][\w.-]*(?:token|key|password|passwd|pwd|secret|signature|sig)=)[^&\s#'\"]+",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"\$\{oc\.env:([A-Za-z_]\w*)(?:,[^}]*)?\}")
# C0 but tab and newline, C1, marks that change the direction of a text.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)

_references: dict[str, str] = {}


def register(value: str, reference: str) -> None:
    """Has a value shown as `reference` from here on; short values and numbers are ignored."""
    if len(value) >= _SHORTEST and not re.fullmatch(
        r"[\d.,+-]+(e[+-]?\d+)?", value, re.IGNORECASE
    ):
        _references[value] = reference


def register_references(config: Any) -> None:
    """Registers the values of all `${oc.env:NAME}` in a config whose references are not resolved."""
    if isinstance(config, Mapping):
        config = list(config.values())
    if isinstance(config, list | tuple):
        for item in config:
            register_references(item)
    elif isinstance(config, str):
        for match in _REFERENCE.finditer(config):
            register(os.environ.get(match[1], ""), match[0])


def redact(text: str) -> str:
    """A text without secrets: registered values, known variables, logins and tokens in addresses."""
    known = {
        value: "***"
        for name in _SECRET_VARIABLES
        if len(value := os.environ.get(name, "")) >= _SHORTEST
    }
    secrets = known | _references
    if secrets and any(value in text for value in secrets):
        longest_first = sorted(secrets, key=len, reverse=True)
        text = re.sub(
            "|".join(map(re.escape, longest_first)),
            lambda match: secrets[match[0]],
            text,
        )
    return _QUERY.sub(r"\1***", _LOGIN.sub("//***@", text))


def redacted(value: Any) -> Any:
    """A nested value with every text redacted; keys stay."""
    if isinstance(value, Mapping):
        return {name: redacted(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    return redact(value) if isinstance(value, str) else value


def printable(text: str) -> str:
    """A text that cannot steer a terminal: control characters become replacement characters."""
    return _CONTROL.sub("\ufffd", text)


def shown(text: object) -> str:
    """A text as a terminal or a log may show it: `redact` and `printable`."""
    return printable(redact(str(text)))


def inline(value: object) -> str:
    """A value inside a line or a table cell of Markdown, where it can start no markup."""
    return re.sub(r"([\\|`\[\]])", r"\\\1", " ".join(str(value).split())).replace(
        "<", "&lt;"
    )


class Formatter(logging.Formatter):
    """Formats log records, tracebacks included, without secrets and control characters."""

    def format(self, record: logging.LogRecord) -> str:
        """A record as `shown` text."""
        return shown(super().format(record))
