"""What Hydra records of a run in `.hydra/`: the command line, the mode, the choices.

The only place that knows the names of these files.
"""

from pathlib import Path
from typing import Any

import yaml

from ostinato.errors import ConfigError
from ostinato.redaction import redact
from ostinato.storage.atomic import write_text
from ostinato.storage.parsing import parse_yaml


class HydraRecord:
    """The folder `.hydra/` in a run folder. Need not exist.

    Args:
        run: the run folder.
    """

    def __init__(self, run: Path) -> None:
        self.folder = run / ".hydra"
        self._settings = self.folder / "hydra.yaml"
        self._overrides = self.folder / "overrides.yaml"

    @property
    def exists(self) -> bool:
        """Whether Hydra started the run."""
        return self.folder.is_dir()

    @property
    def is_sweep_job(self) -> bool:
        """Whether the run is a job of a sweep."""
        return bool(self._setting("mode") == "MULTIRUN")

    @property
    def choices(self) -> dict[str, str]:
        """The option that the run used for each config group."""
        runtime = self._setting("runtime")
        if not isinstance(runtime, dict):
            return {}
        choices = runtime.get("choices")
        return choices if isinstance(choices, dict) else {}

    def overrides(self) -> list[str]:
        """The command line that started the run.

        Raises:
            ConfigError: the record is missing or damaged.
        """
        try:
            text = self._overrides.read_text(encoding="utf-8")
            recorded = parse_yaml(text)
        except (OSError, ValueError) as error:
            raise ConfigError(
                [f"{self._overrides}: damaged or not readable ({error})"]
            ) from None
        return key_values(recorded, self._overrides)

    def replace_overrides(self, overrides: list[str]) -> None:
        """Replaces the recorded command line, see `overrides`."""
        write_text(self._overrides, yaml.safe_dump(overrides))

    def copy_to(self, other: "HydraRecord", overrides: list[str]) -> None:
        """Gives another run a copy of this record.

        Args:
            other: the record of the other run.
            overrides: what the other run adds to the command line.
        """
        other.folder.mkdir(parents=True, exist_ok=True)
        write_text(other._settings, self._settings.read_text(encoding="utf-8"))
        other.replace_overrides([*self.overrides(), *overrides])

    def _setting(self, key: str) -> Any:
        """A value of Hydra's own config; None if the record is missing or damaged."""
        try:
            text = self._settings.read_text(encoding="utf-8")
            return parse_yaml(text)["hydra"][key]
        except (OSError, ValueError, KeyError, TypeError):
            return None


def key_values(recorded: Any, record: Path) -> list[str]:
    """The items of a recorded command line.

    Args:
        recorded: what the file holds.
        record: the file, for the message.

    Raises:
        ConfigError: an item is not a text of the form key=value.
    """
    if not isinstance(recorded, list):
        raise ConfigError([f"{record}: damaged (is not a list of key=value)"])
    for item in recorded:
        if _is_key_value(item):
            continue
        shown = redact(str(item))[:80]
        raise ConfigError(
            [f"{record}: damaged ({shown!r} does not have the form key=value)"]
        )
    return recorded


def _is_key_value(item: Any) -> bool:
    if not isinstance(item, str):
        return False
    return item.startswith("~") or "=" in item
