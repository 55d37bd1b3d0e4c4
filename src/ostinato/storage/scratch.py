"""Temporary folders of a process; those of killed processes are deleted later.

The owner of a folder holds the lock of a file in it, which the system frees when the
owner ends in any way. A process number would not do: numbers repeat, and containers
that share a temporary folder do not share numbers.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

_LOCK = "owner.lock"


def scratch_folder(prefix: str) -> Path:
    """Makes a temporary folder, which is deleted when the process ends.

    Deletes those with the same prefix whose owner was killed.

    Args:
        prefix: how the name begins.
    """
    root = Path(tempfile.gettempdir())
    for other in root.glob(f"{prefix}*"):
        if _is_free(other / _LOCK):
            shutil.rmtree(other, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
    _hold(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _hold(folder: Path) -> None:
    """Locks a folder until this process ends."""
    try:
        import fcntl
    except ImportError:  # no locks on this system: the folder is never swept
        return
    # It gets its name when it is locked, so that no other process finds it unlocked.
    unnamed = folder / f"{_LOCK}.new"
    descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    unnamed.rename(folder / _LOCK)


def _is_free(lock: Path) -> bool:
    """Whether the owner of a folder has ended. False if that is not certain."""
    try:
        import fcntl

        descriptor = os.open(lock, os.O_RDWR)
    except (ImportError, OSError):  # of another user, or not locked yet
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
