"""Files and folders that are written whole or not at all: to a temporary name beside the target, flushed, renamed.

After an error the target is as it was and the temporary name is gone. A killed process can leave a temporary name;
`remove_leftovers` deletes it, and puts back a folder that was about to be replaced.
"""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ostinato.errors import StorageError, UserError

_LEFTOVER = re.compile(r"\..+\.\d+\.tmp")
_REPLACED = re.compile(r"\.(.+)\.old\.\d+\.tmp")
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def temporary_name(path: Path) -> Path:
    """The name beside `path` that this process writes to before it renames."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


@contextmanager
def atomic_file(path: Path, mode: str = "w", **options: Any) -> Iterator[IO[Any]]:
    """Opens a temporary file that replaces `path` when the block ends without an error.

    Args:
        path: the target.
        mode: "w" (UTF-8 unless `options` say otherwise) or "wb".
        **options: passed to `open`.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full; the target is as it was.
    """
    temporary = temporary_name(path)
    if "b" not in mode:
        options = {"encoding": "utf-8", **options}
    try:
        with temporary.open(mode, **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        flush(path.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # the user does not know the temporary name
        raise


def write_text(path: Path, text: str, errors: str = "strict") -> None:
    """Writes a UTF-8 text file, see `atomic_file`."""
    with atomic_file(path, errors=errors) as file:
        file.write(text)


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file, see `atomic_file`. NaN and infinities are refused."""
    write_text(
        path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    )


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Makes a temporary folder that replaces `folder` when the block ends without an error.

    Raises:
        OSError: the parent is not writable, or the disk is full; the target is as it was.
    """
    temporary = temporary_name(folder)
    old = folder.with_name(f".{folder.name}.old.{os.getpid()}.tmp")
    _put_back(old)  # of a killed process with the same number, as containers have them
    for leftover in (temporary, old):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for path in (*temporary.rglob("*"), temporary):
            flush(path)
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
        flush(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        _put_back(old)
        raise
    shutil.rmtree(old, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Deletes what killed processes left under temporary names in a folder. The caller holds the folder's lock.

    A process that is killed while it replaces a folder leaves the old one under a temporary name: it is put back.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not _LEFTOVER.fullmatch(path.name) or _put_back(path):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _put_back(old: Path) -> bool:
    """Gives a folder that was about to be replaced its name back, unless another has the name."""
    name = _REPLACED.fullmatch(old.name)
    if name is None or not old.is_dir() or old.with_name(name[1]).exists():
        return False
    old.rename(old.with_name(name[1]))
    return True


@contextmanager
def storage_errors(folder: Path, remedy: str) -> Iterator[None]:
    """Turns a full disk, or a folder without permission, into one line.

    Args:
        folder: what is written.
        remedy: what the user does when there is room again.

    Raises:
        StorageError: in place of the error of the system, or of a library in Rust, which gives its number in the text.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        text = re.search(r"\(os error (\d+)\)", str(error))
        number = (
            error.errno
            if isinstance(error, OSError)
            else int(text[1])
            if text
            else None
        )
        path = str(getattr(error, "filename", None) or folder)
        denied = number in (errno.EACCES, errno.EPERM) and Path(
            path
        ).absolute().is_relative_to(folder.absolute())
        if number is None or not (number in _DISK or denied):
            raise
        raise StorageError(
            f"{path}: cannot be written ({os.strerror(number)}); {remedy}"
        ) from error


def flush(path: Path) -> None:
    """Flushes a file or a folder's entries to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
