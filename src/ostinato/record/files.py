"""Reads and writes `results.json`, `provenance.json` and `fingerprint.json`.

Each file holds the version of its schema. A file without it was written before
versions existed and counts as version 1. In memory, a record has no version.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ostinato.errors import ConfigError
from ostinato.record.schema import (
    Export,
    Fingerprint,
    FinishedResults,
    Provenance,
    Record,
    Results,
    check_shape,
)
from ostinato.run_dir import RunDir, read_json, write_record

SCHEMA_VERSION = 1
"""Version of the three files. Increase it when an older program cannot read them."""

_VERSION_KEY = "schema_version"


def read_results(run: RunDir) -> Results:
    """Reads the `results.json` of a run that ended in any way.

    Raises:
        ConfigError: the file is missing, damaged, changed or of a newer version.
    """
    return _read(run.results, Results)


def read_finished_results(run: RunDir) -> FinishedResults:
    """Reads the `results.json` of a run that finished.

    Raises:
        ConfigError: the file is missing, damaged, changed or of a newer version, or
            the run did not finish.
    """
    return _read(run.results, FinishedResults)


def read_provenance(run: RunDir) -> Provenance:
    """Reads `provenance.json`.

    Raises:
        ConfigError: the file is missing, damaged, changed or of a newer version.
    """
    return _read(run.provenance, Provenance)


def read_fingerprint(run: RunDir) -> Fingerprint:
    """Reads `fingerprint.json`.

    Raises:
        ConfigError: the file is missing, damaged, changed or of a newer version.
    """
    return _read(run.fingerprint, Fingerprint)


def read_export(path: Path) -> Export:
    """Reads the `export.json` of an exported model, which has no schema version.

    Raises:
        ConfigError: the file is missing, damaged or changed.
    """
    return check_shape(path, read_json(path), Export)


def write_results(run: RunDir, results: Mapping[str, Any]) -> None:
    """Writes `results.json`."""
    _write(run.results, results)


def write_provenance(run: RunDir, provenance: Provenance) -> None:
    """Writes `provenance.json`."""
    _write(run.provenance, provenance)


def write_fingerprint(run: RunDir, fingerprint: Fingerprint) -> None:
    """Writes `fingerprint.json`."""
    _write(run.fingerprint, fingerprint)


def _read(path: Path, shape: type[Record]) -> Record:
    value = read_json(path)
    _check_version(path, value.pop(_VERSION_KEY, 1))
    return check_shape(path, value, shape)


def _write(path: Path, record: Mapping[str, Any]) -> None:
    write_record(path, {_VERSION_KEY: SCHEMA_VERSION, **record})


def _check_version(path: Path, version: Any) -> None:
    # In Python, true is an int.
    is_number = isinstance(version, int) and not isinstance(version, bool)
    if not is_number or version < 1:
        reason = f"{_VERSION_KEY}={version!r} must be a positive integer"
        remedy = "restore the file, or create it again"
        raise ConfigError([f"{path}: damaged ({reason}); {remedy}"])
    if version > SCHEMA_VERSION:
        newer = f"{_VERSION_KEY}={version} is newer than this program reads"
        raise ConfigError([f"{path}: {newer} ({SCHEMA_VERSION}); update ostinato"])
