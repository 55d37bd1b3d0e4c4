"""Verifies cached token files: a record names each file and its SHA-256."""

import logging
from pathlib import Path

from datasets import Dataset

from ostinato.record.digests import digest_file
from ostinato.storage.atomic import write_json
from ostinato.storage.parsing import parse_json

log = logging.getLogger(__name__)


def is_complete(folder: Path, key: str) -> bool:
    """Whether all files of a key are unchanged since they were written.

    Args:
        folder: folder of the cached tokens.
        key: name of the tokenised texts.
    """
    try:
        damaged = _damaged_files(folder, key)
    except FileNotFoundError:
        return False
    except (ValueError, AttributeError, TypeError):
        damaged = [_record(folder, key).name]
    for name in damaged:
        file = folder / name
        log.warning("%s: damaged or changed; the texts are tokenised again", file)
    return not damaged


def write_record(folder: Path, key: str, table: Dataset) -> None:
    """Records the SHA-256 of each file of a table."""
    digests = {}
    for cache_file in table.cache_files:
        file = Path(cache_file["filename"])
        digests[file.name] = digest_file(file)
    write_json(_record(folder, key), digests)


def remove(folder: Path, key: str) -> None:
    """Deletes the files of a key and their record."""
    for file in folder.glob(f"{key}*.arrow"):
        file.unlink(missing_ok=True)
    _record(folder, key).unlink(missing_ok=True)


def _record(folder: Path, key: str) -> Path:
    return folder / f"{key}.json"


def _damaged_files(folder: Path, key: str) -> list[str]:
    record = _record(folder, key)
    text = record.read_text(encoding="utf-8")
    digests: dict[str, str] = parse_json(text)
    damaged = []
    for name, sha256 in digests.items():
        if digest_file(folder / name) != sha256:
            damaged.append(name)
    if not digests:
        damaged.append(record.name)
    return damaged
