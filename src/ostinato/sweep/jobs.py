"""The jobs of a sweep: each has a folder by what it is, runs once, and goes on where it was stopped.

A job is its config without observers, the code, and the content of its data files and of a local model. The same
command again therefore finds its jobs, whatever their number, and a changed config is another job in another folder.
What a hub serves is identified by its name and revision alone.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from ostinato.config import ResumeConfig, RunConfig, Source
from ostinato.errors import ConfigError
from ostinato.record.drift import without_observers
from ostinato.record.results import finished_metric, has_ended
from ostinato.record.source import code_digest
from ostinato.redaction import redact
from ostinato.run_dir import RunDir, read_json, write_record
from ostinato.storage.paths import find_files, local_folder

log = logging.getLogger(__name__)


def job_folder(sweep: Path, name: str, config: RunConfig) -> str:
    """Name of a job's folder in a sweep: the one that it already has, or NAME and the digest of what it is.

    Args:
        sweep: the sweep's folder; need not exist.
        name: how a new folder's name begins.
        config: the job's config, with the values that the run uses. Only their digest appears in the name.
    """
    key = _key(config)
    return next((path.name for path in sorted(sweep.glob(f"*_{key}"))), f"{name}_{key}")


def _key(config: RunConfig) -> str:
    decisive = without_observers(
        {name: value for name, value in asdict(config).items() if name != "seed"}
    )
    files = {str(file): _content(file) for file in _local_files(config)}
    text = json.dumps([decisive, code_digest(), files], sort_keys=True, default=str)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:10]


def _local_files(config: RunConfig) -> Iterator[Path]:
    """The files on this machine that the run reads."""
    data = config.data
    if data.source is Source.files:
        for path in filter(None, (data.train_path, data.val_path, data.test_path)):
            yield from find_files(path)
    if data.source is Source.hub and (folder := local_folder(str(data.name))):
        yield from sorted(folder.rglob("*"))
    if folder := local_folder(config.model.name):
        yield from sorted(
            path for path in folder.iterdir() if path.suffix != ".md"
        )  # a model card decides nothing


def _content(path: Path) -> str:
    """SHA-256 of a file; empty for what is no file or cannot be read: the run itself reports that."""
    try:
        status = path.stat()
        return (
            _file_digest(path.absolute(), status.st_size, status.st_mtime_ns)
            if path.is_file()
            else ""
        )
    except OSError:
        return ""


@cache
def _file_digest(path: Path, size: int, mtime_ns: int) -> str:
    # Size and time are part of the cache's key: Hydra asks for a job's folder several times.
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def run_once(
    main: Callable[[RunConfig, RunDir, dict[str, Any]], float | None],
    config: RunConfig,
    run: RunDir,
    resolved: dict[str, Any],
) -> float | None:
    """Runs a job unless its folder holds it finished; one that was stopped goes on from its newest checkpoint.

    Two processes with the same job wait for each other, so that the second finds it finished.

    Returns:
        The best monitored validation metric.
    """
    with FileLock(run.job_lock):
        metric = finished_metric(run)
        if metric is not None:
            log.info("finished already: %s", run.path)
            return metric
        from_start = (
            not run.checkpoints.is_dir()
        )  # then nothing that has changed since matters
        resume = ResumeConfig(
            run="auto", allow_drift=config.resume.allow_drift or from_start
        )
        return main(replace(config, resume=resume), run, resolved)


def record_failure(run: RunDir, error: Exception) -> None:
    """Writes why a job failed, where it failed before it could write that itself."""
    if not has_ended(run):
        run.path.mkdir(parents=True, exist_ok=True)
        reason = redact(str(error)) or type(error).__name__
        write_record(
            run.results,
            _logged(run) | {"name": run.path.name, "status": "failed", "error": reason},
        )


def _logged(run: RunDir) -> dict[str, Any]:
    """What earlier sessions of the run logged."""
    try:
        return {
            name: value
            for name, value in read_json(run.results).items()
            if name == "metrics"
        }
    except ConfigError:
        return {}
