"""Finds the files that a path from the config names.

One rule serves the code that opens files and the code that identifies jobs by them.
"""

import glob
import os
from pathlib import Path

from ostinato.errors import ConfigError


def expand(path: str) -> Path:
    """Replaces `~` by the home folder; keeps a path with an unknown user unchanged."""
    # Path.expanduser raises RuntimeError for an unknown user.
    return Path(os.path.expanduser(path))  # noqa: PTH111


def possible_path(key: str, path: str | Path) -> Path:
    """A path from the config, which need not exist.

    Args:
        key: the key of the config, for the message.
        path: its value.

    Raises:
        ConfigError: no file can have this path: it is too long, it contains a NUL
            character, or its folder is a file or not readable.
    """
    try:
        os.stat(path)  # noqa: PTH116 (Path.exists hides a NUL character)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError([f"{key}={path}: is not a valid path ({reason})"]) from None
    return Path(path)


def find_files(path: str) -> list[Path]:
    """Finds the files of a path or glob.

    A file whose name contains glob characters, for example `train[1].csv`, has
    precedence over the glob.

    Returns:
        The files, sorted; empty when there are none or when the name is not possible.
    """
    literal = expand(path)
    try:
        if literal.is_file():
            return [literal]
        matches = glob.glob(str(literal), recursive=True)
        paths = [Path(match) for match in matches]
        return sorted(path for path in paths if path.is_file())
    except (OSError, ValueError):  # too long for the file system, or a NUL character
        return []


def local_folder(name: str) -> Path | None:
    """The folder that a model or data set name denotes; None if it is not a folder."""
    folder = expand(name)
    try:
        return folder if folder.is_dir() else None
    except (OSError, ValueError):
        return None
