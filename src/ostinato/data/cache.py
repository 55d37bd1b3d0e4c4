"""Lists and deletes the content of the cache.

Everything in the cache can be made again. Links, and names that the program does not
make, are kept. Nothing is deleted while a process uses the cache.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ostinato.config import CacheConfig
from ostinato.data.assets import IN_USE, cache_dir
from ostinato.data.wheels import MANIFEST
from ostinato.errors import AssetError

_DAY = 24 * 60 * 60.0
_ENTRIES = {
    "assets": re.compile(r".+-[0-9a-f]{12}"),
    "rows": re.compile(r"[0-9a-f]{64}\.arrow"),
    "tokens": re.compile(r"[0-9a-f]{32}(_\d+_of_\d+)?\.arrow"),
}
# Leftovers of killed processes: a download, a folder of rows, a file of tokens, and the
# temporary name of a target.
_TEMPORARY = re.compile(r".+\.partial|\.[a-z0-9_]{8}|tmp[a-z0-9_]{8}|\..+\.tmp")


@dataclass(frozen=True)
class Entry:
    """A file or folder in the cache.

    Attributes:
        kind: assets, rows, tokens or temporary.
        path: the file or folder.
        size: size in bytes.
        last_used: time of the last use, in seconds since 1970.
    """

    kind: str
    path: Path
    size: int
    last_used: float


def entries() -> list[Entry]:
    """Lists the cache by kind and name.

    Raises:
        AssetError: the path of the cache is not a folder.
    """
    cache = cache_dir()
    if cache.exists() and not cache.is_dir():
        raise AssetError(
            f"the cache {cache} is not a folder; set OSTINATO_CACHE to another path"
        )
    found: list[Entry] = []
    for kind in _ENTRIES:
        found.extend(_entries_of(kind))
    return found


def prune(cfg: CacheConfig) -> list[Entry]:
    """Deletes unused entries and the leftovers of killed processes.

    Args:
        cfg: `prune` is the number of days without use after which an entry is deleted,
            or "all"; `dry_run` deletes nothing.

    Returns:
        The deleted entries, or those that would be deleted.

    Raises:
        AssetError: a process uses the cache, or an entry could not be deleted.
    """
    with _exclusive_use():
        days = 0 if cfg.prune == "all" else int(str(cfg.prune))
        oldest = time.time() - days * _DAY
        expired = [entry for entry in entries() if _is_expired(entry, oldest)]
        if not cfg.dry_run:
            for entry in expired:
                _delete(entry)
    return expired


def _is_expired(entry: Entry, oldest: float) -> bool:
    return entry.kind == "temporary" or entry.last_used <= oldest


def _entries_of(kind: str) -> Iterator[Entry]:
    folder = cache_dir() / kind
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.is_symlink():
            continue
        if _is_entry(path, kind):
            yield Entry(kind, path, _size(path), _last_used(path))
        elif _TEMPORARY.fullmatch(path.name):
            yield Entry("temporary", path, _size(path), _last_used(path))


def _is_entry(path: Path, kind: str) -> bool:
    if not _ENTRIES[kind].fullmatch(path.name):
        return False
    is_folder_expected = kind == "assets"
    return path.is_dir() == is_folder_expected


def _size(path: Path) -> int:
    if path.is_file():
        return path.lstat().st_size
    size = 0
    for inside in path.rglob("*"):
        if inside.is_file():
            size += inside.lstat().st_size
    return size


def _last_used(path: Path) -> float:
    status = path.lstat()
    times = [status.st_mtime]
    if not path.is_dir():
        # For folders, the access time changes when the folder is listed.
        times.append(status.st_atime)
    # A use opens the lock of a file of tokens, or touches the manifest of an asset.
    # Rows are written at every use.
    lock = _lock(path)
    if lock.is_file():
        times.append(lock.stat().st_mtime)
    manifest = path / MANIFEST
    if manifest.is_file():
        times.append(manifest.stat().st_mtime)
    return max(times)


def _lock(path: Path) -> Path:
    name = path.name
    if not path.is_dir():
        name = name.removesuffix(".arrow")
    return path.with_name(f"{name}.lock")


def _delete(entry: Entry) -> None:
    try:
        if entry.path.is_dir():
            shutil.rmtree(entry.path)
        else:
            entry.path.unlink()
        _lock(entry.path).unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise AssetError(f"{entry.path}: cannot be deleted ({reason})") from None


@contextmanager
def _exclusive_use() -> Iterator[None]:
    """Keeps other processes from using the cache; see `assets.hold_cache`.

    Raises:
        AssetError: another process uses the cache, or the cache cannot be written.
    """
    import fcntl

    cache = cache_dir()
    if not cache.is_dir():
        yield
        return
    try:
        descriptor = os.open(cache / IN_USE, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        reason = error.strerror or error
        raise AssetError(f"cannot write to the cache {cache} ({reason})") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise AssetError(
            f"a running process uses the cache {cache}; wait until it ends, or stop it"
        ) from None
    finally:
        os.close(descriptor)
