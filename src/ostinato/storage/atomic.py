"""Writes files and folders completely or not at all.

New content goes to a temporary name beside the target, is flushed, and is renamed.
After an error the target is unchanged. `remove_leftovers` cleans up after a killed
process.
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
_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")  # how libraries in Rust report it
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_PERMISSION_ERRORS = (errno.EACCES, errno.EPERM)


def temporary_name(path: Path) -> Path:
    """The name beside `path` that this process writes to before it renames."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


@contextmanager
def atomic_file(path: Path, mode: str = "w", **options: Any) -> Iterator[IO[Any]]:
    """Opens a temporary file that replaces `path` when the block ends without an error.

    Args:
        path: the target.
        mode: "w" or "wb". Text is UTF-8 unless `options` name another encoding.
        **options: passed to `open`.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full. The target
            is unchanged.
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
    """Writes a UTF-8 text file; see `atomic_file`."""
    with atomic_file(path, errors=errors) as file:
        file.write(text)


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file; see `atomic_file`.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Makes a temporary folder that replaces `folder` at the end of the block.

    After an error in the block, the target is unchanged.

    Raises:
        OSError: the parent is not writable, or the disk is full.
    """
    temporary = temporary_name(folder)
    old = folder.with_name(f".{folder.name}.old.{os.getpid()}.tmp")
    # Process ids repeat, for example in containers: both names may be leftovers.
    _restore(old)
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for path in temporary.rglob("*"):
            flush(path)
        flush(temporary)
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
        flush(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        _restore(old)
        raise
    shutil.rmtree(old, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Deletes the temporary files and folders of killed processes.

    A process that is killed while it replaces a folder keeps the old folder under a
    temporary name. This function gives it its name back. The caller holds the lock of
    the folder.
    """
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if not _LEFTOVER.fullmatch(path.name):
            continue
        if _restore(path):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _restore(old: Path) -> bool:
    """Gives a replaced folder its name back, unless another folder has the name."""
    match = _REPLACED.fullmatch(old.name)
    if match is None or not old.is_dir():
        return False
    original = old.with_name(match[1])
    if original.exists():
        return False
    old.rename(original)
    return True


@contextmanager
def storage_errors(folder: Path, remedy: str) -> Iterator[None]:
    """Reports a full disk, or a folder without write permission, in one line.

    Args:
        folder: the folder that the block writes to.
        remedy: what the user does when there is space again.

    Raises:
        StorageError: replaces the error of the system, or of a library in Rust that
            writes the number of the system's error into its text.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        number = _error_number(error)
        if number is None:
            raise
        path = Path(str(getattr(error, "filename", None) or folder))
        is_inside = path.absolute().is_relative_to(folder.absolute())
        is_denied = number in _PERMISSION_ERRORS and is_inside
        if number not in _DISK_ERRORS and not is_denied:
            raise
        reason = os.strerror(number)
        raise StorageError(f"{path}: cannot be written ({reason}); {remedy}") from error


def _error_number(error: Exception) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    match = _SYSTEM_ERROR.search(str(error))
    return int(match[1]) if match else None


def flush(path: Path) -> None:
    """Flushes a file, or the entries of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
