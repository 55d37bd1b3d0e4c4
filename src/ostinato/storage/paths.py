"""Which files a path from the config means: one rule for what opens them and for what identifies a job by them."""

import glob
import os
from pathlib import Path


def expand(path: str) -> Path:
    """The path with `~` replaced by the home folder; the path as it is where the system knows no such user."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  Path.expanduser raises RuntimeError for an unknown user


def find_files(path: str) -> list[Path]:
    """The files that a path or glob means, sorted; empty when there are none, or when no file can have this name.

    A file whose name contains glob characters, such as `train[1].csv`, is found before the glob is tried.
    """
    literal = expand(path)
    try:
        if literal.is_file():
            return [literal]
        return sorted(
            file
            for match in glob.glob(str(literal), recursive=True)
            if (file := Path(match)).is_file()
        )
    except (OSError, ValueError):  # too long for the file system, or a NUL character
        return []


def local_folder(name: str) -> Path | None:
    """The folder that the name of a model or data set means; None when it is not a folder on this machine."""
    folder = expand(name)
    try:
        return folder if folder.is_dir() else None
    except (OSError, ValueError):
        return None
