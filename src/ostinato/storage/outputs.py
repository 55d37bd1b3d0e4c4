"""Checks the files and folders that a command may write: it replaces only its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ostinato.errors import ConfigError
from ostinato.storage.atomic import write_json
from ostinato.storage.parsing import parse_json
from ostinato.storage.paths import possible_path

REPORT_MARK = '<meta name="generator" content="ostinato">'


def check_output(output: Path, suffix: str, is_ours: Callable[[str], bool]) -> None:
    """Refuses a file that a command must not write.

    Args:
        output: the file, as typed.
        suffix: the required suffix.
        is_ours: returns whether the command wrote a file with this text.

    Raises:
        ConfigError: another suffix, an impossible path, a folder, or a file that the
            command did not write.
    """
    if output.suffix.lower() != suffix:
        raise ConfigError([f"output={output}: must end in {suffix}"])
    possible_path("output", output)
    if output.is_dir():
        raise ConfigError([f"output={output}: is a folder; give a {suffix} file"])
    if not output.exists():
        return
    try:
        replaceable = is_ours(output.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        replaceable = False
    if not replaceable:
        problem = (
            f"output={output}: exists and was not written by this command; "
            "give another file"
        )
        raise ConfigError([problem])


def holds(*keys: str) -> Callable[[str], bool]:
    """Returns a test of whether a text is a JSON object with these keys."""

    def check(text: str) -> bool:
        value = parse_json(text)
        if not isinstance(value, dict):
            return False
        return all(key in value for key in keys)

    return check


def write_metrics(output: Path, metrics: Any) -> None:
    """Writes metrics that are already on stdout to a JSON file.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        write_json(output, metrics)
    except OSError as error:
        problem = f"output={output}: cannot be written ({error.strerror})"
        raise ConfigError([problem]) from None
