"""Lists and deletes what the cache holds: only what the program made, and nothing while a process uses the cache.

Everything in the cache can be made again. Names that the program does not make, and links, are left alone.
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
from ostinato.errors import AssetError

_DAY = 24 * 60 * 60.0
_ENTRIES = {
    "assets": re.compile(r".+-[0-9a-f]{12}"),
    "rows": re.compile(r"[0-9a-f]{64}\.arrow"),
    "tokens": re.compile(r"[0-9a-f]{32}(_\d+_of_\d+)?\.arrow"),
}
# What a killed process leaves: a download, a folder of rows, a file of tokens, a target's temporary name.
_TEMPORARY = re.compile(r".+\.partial|\.[a-z0-9_]{8}|tmp[a-z0-9_]{8}|\..+\.tmp")


@dataclass(frozen=True)
class Entry:
    """A file or folder in the cache.

    Attributes:
        kind: assets, rows, tokens or temporary.
        path: where it is.
        size: bytes.
        last_used: time of the last use, in seconds since 1970.
    """

    kind: str
    path: Path
    size: int
    last_used: float


def entries() -> list[Entry]:
    """What the cache holds, by kind and name.

    Raises:
        AssetError: there is no folder for the cache.
    """
    if cache_dir().exists() and not cache_dir().is_dir():
        raise AssetError(
            f"the cache {cache_dir()} is not a folder; set OSTINATO_CACHE to another path"
        )
    return [entry for kind in _ENTRIES for entry in _entries_of(kind)]


def prune(cfg: CacheConfig) -> list[Entry]:
    """Deletes what was not used for `cfg.prune` days, and what killed processes left; returns what was deleted.

    Raises:
        AssetError: a process uses the cache, or something could not be deleted.
    """
    with _alone():
        oldest = time.time() - (0 if cfg.prune == "all" else int(str(cfg.prune))) * _DAY
        found = [
            entry
            for entry in entries()
            if entry.kind == "temporary" or entry.last_used <= oldest
        ]
        for entry in [] if cfg.dry_run else found:
            _delete(entry)
    return found


def _entries_of(kind: str) -> Iterator[Entry]:
    folder = cache_dir() / kind
    for path in (
        sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else ()
    ):
        is_entry = _ENTRIES[kind].fullmatch(path.name) and path.is_dir() == (
            kind == "assets"
        )
        if (is_entry or _TEMPORARY.fullmatch(path.name)) and not path.is_symlink():
            yield Entry(
                kind if is_entry else "temporary", path, _size(path), _last_used(path)
            )


def _size(path: Path) -> int:
    files = (
        [path]
        if path.is_file()
        else [inside for inside in path.rglob("*") if inside.is_file()]
    )
    return sum(file.lstat().st_size for file in files)


def _last_used(path: Path) -> float:
    # Every use opens the lock of a file of tokens and touches the manifest of an asset; rows are written at every use.
    # The access time counts for files only: listing a folder changes that of the folder.
    times = [
        file.stat().st_mtime
        for file in (_lock(path), path / "manifest.json")
        if file.is_file()
    ]
    return max(
        [
            path.lstat().st_mtime,
            *([] if path.is_dir() else [path.lstat().st_atime]),
            *times,
        ]
    )


def _lock(path: Path) -> Path:
    name = path.name if path.is_dir() else path.name.removesuffix(".arrow")
    return path.with_name(f"{name}.lock")


def _delete(entry: Entry) -> None:
    try:
        if entry.path.is_dir():
            shutil.rmtree(entry.path)
        else:
            entry.path.unlink()
        _lock(entry.path).unlink(missing_ok=True)
    except OSError as error:
        raise AssetError(
            f"{entry.path}: cannot be deleted ({error.strerror or error})"
        ) from None


@contextmanager
def _alone() -> Iterator[None]:
    """Keeps other processes from using the cache; see `assets.hold_cache`."""
    import fcntl

    if not cache_dir().is_dir():
        yield
        return
    try:
        descriptor = os.open(cache_dir() / IN_USE, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise AssetError(
            f"cannot write to the cache {cache_dir()} ({error.strerror or error})"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise AssetError(
            f"a running process uses the cache {cache_dir()}; wait until it ends, or stop it"
        ) from None
    finally:
        os.close(descriptor)
