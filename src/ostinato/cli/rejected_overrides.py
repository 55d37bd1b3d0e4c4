"""Finds the overrides that Hydra rejects when it composes a config."""

import re

from omegaconf import DictConfig

from ostinato.cli.composition import compose_command
from ostinato.cli.schemas import with_documentation
from ostinato.cli.wording import explain, first_line, full_text


def compose_without_rejected(
    command: str, overrides: list[str]
) -> tuple[list[str], DictConfig | None]:
    """Composes a config, and leaves out each override that Hydra rejects.

    Args:
        command: name of the command.
        overrides: a command line without sweeps.

    Returns:
        One line per rejected override, and the config without them. The config is None
        if an error remains that no override causes.
    """
    problems: list[str] = []
    remaining = list(overrides)
    while True:
        try:
            return problems, compose_command(command, remaining)
        except Exception as error:
            # Hydra and OmegaConf also raise ValueError, TypeError and AssertionError.
            rejected = _named_override(error, remaining)
            if rejected is None:
                rejected = _override_by_trial(command, error, remaining)
            if rejected is None:
                return [*problems, first_line(error)], None
            key = rejected.split("=")[0]
            problem = f"{rejected}: {explain(error)}"
            problems.append(with_documentation(command, key, problem))
            remaining.remove(rejected)


def _named_override(error: Exception, overrides: list[str]) -> str | None:
    """The override that an error names, as typed or by its key."""
    message = full_text(error)
    for text in overrides:
        if text and text in message:
            return text
    key = re.search(r"full_key: (\S+)", message)
    if key is None:
        return None
    for text in overrides:
        if text.lstrip("+").split("=")[0] == key[1]:
            return text
    return None


def _override_by_trial(
    command: str, error: Exception, overrides: list[str]
) -> str | None:
    """The override without which this error does not occur."""
    for index, text in enumerate(overrides):
        others = overrides[:index] + overrides[index + 1 :]
        try:
            compose_command(command, others)
        except Exception as other:
            if str(other) == str(error):
                continue
        return text
    return None
