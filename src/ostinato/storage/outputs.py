"""Files and folders that a command may write: what the program did not make is never replaced."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ostinato.errors import ConfigError
from ostinato.storage.atomic import write_json

REPORT_MARK = '<meta name="generator" content="ostinato">'


def check_output(output: Path, suffix: str, is_ours: Callable[[str], bool]) -> None:
    """Refuses a file that a command must not write.

    Args:
        output: the file, as typed.
        suffix: how its name must end.
        is_ours: whether a file with this text is one that the command wrote earlier.

    Raises:
        ConfigError: another suffix, a folder, or a file that is something else.
    """
    if output.suffix.lower() != suffix:
        raise ConfigError([f"output={output}: must end in {suffix}"])
    if output.is_dir():
        raise ConfigError([f"output={output}: is a folder; give a {suffix} file"])
    try:
        ours = not output.exists() or is_ours(output.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        ours = False
    if not ours:
        raise ConfigError(
            [
                f"output={output}: exists and was not written by this command; give another file"
            ]
        )


def holds(*keys: str) -> Callable[[str], bool]:
    """Whether a text is a JSON object with these keys."""

    def check(text: str) -> bool:
        value = json.loads(text)
        return isinstance(value, dict) and all(key in value for key in keys)

    return check


def write_metrics(output: Path, metrics: Any) -> None:
    """Writes metrics that are on stdout already to a JSON file.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        write_json(output, metrics)
    except OSError as error:
        raise ConfigError(
            [f"output={output}: cannot be written ({error.strerror})"]
        ) from None
