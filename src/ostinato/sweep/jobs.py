"""The jobs of a sweep: each runs once, in a folder named after what it computes.

A job is identified by its config without observers, the code, and the content of its
data files and of a local model. The same command therefore finds its earlier jobs,
and a changed config gives another job in another folder. Models and data from a hub
are identified by name and revision only.
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
from ostinato.record.decisive import without_observers
from ostinato.record.files import write_results
from ostinato.record.results import finished_metric, has_ended
from ostinato.record.source import code_digest
from ostinato.redaction import redact
from ostinato.run_dir import RunDir, read_json
from ostinato.storage.paths import find_files, local_folder

log = logging.getLogger(__name__)

_KEY_LENGTH = 10

Job = Callable[[RunConfig, RunDir, dict[str, Any]], float | None]
"""Trains a run in its folder; returns the best monitored validation metric."""


def job_folder(sweep: Path, name: str, config: RunConfig) -> str:
    """Names the folder of a job in a sweep.

    Args:
        sweep: the sweep's folder; it need not exist.
        name: how the name of a new folder begins.
        config: the job's config, with the values that the run uses. Only their digest
            appears in the name.

    Returns:
        The name of the folder that the job already has, or `name` and the digest.
    """
    key = _key(config)
    for path in sorted(sweep.glob(f"*_{key}")):
        return path.name
    return f"{name}_{key}"


def _key(config: RunConfig) -> str:
    """Digest of everything that identifies a job."""
    values = asdict(config)
    del values["seed"]  # training.seed holds it
    decisive = without_observers(values)
    files = {str(file): _content(file) for file in _local_files(config)}
    text = json.dumps([decisive, code_digest(), files], sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode(errors="surrogateescape"))
    return digest.hexdigest()[:_KEY_LENGTH]


def _local_files(config: RunConfig) -> Iterator[Path]:
    """The files on this machine that the run reads."""
    data = config.data
    if data.source is Source.files:
        for path in filter(None, (data.train_path, data.val_path, data.test_path)):
            yield from find_files(path)
    if data.source is Source.hub:
        folder = local_folder(str(data.name))
        if folder:
            yield from sorted(folder.rglob("*"))
    folder = local_folder(config.model.name)
    if folder:
        # The index of a model in several files can name files of subfolders.
        for file in sorted(folder.rglob("*")):
            parts = file.relative_to(folder).parts
            is_hidden = any(part.startswith(".") for part in parts)  # .git, .cache
            # A model card does not change results.
            if file.is_file() and file.suffix != ".md" and not is_hidden:
                yield file


def _content(path: Path) -> str:
    """SHA-256 of a file.

    Empty for a path that is not a file or not readable: the run itself reports that.
    """
    try:
        status = path.stat()
        if not path.is_file():
            return ""
        return _file_digest(path.absolute(), status.st_size, status.st_mtime_ns)
    except OSError:
        return ""


@cache
def _file_digest(path: Path, size: int, mtime_ns: int) -> str:
    # Size and time are part of the cache's key. Hydra resolves a job's folder several
    # times, and the file is read once.
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def run_once(
    main: Job,
    config: RunConfig,
    run: RunDir,
    resolved: dict[str, Any],
) -> float | None:
    """Runs a job unless it has finished; a stopped job continues from its checkpoint.

    If two processes have the same job, the second one waits, then finds it finished.

    Args:
        main: trains the run.
        config: the job's config.
        run: its folder.
        resolved: the config as plain data.

    Returns:
        The best monitored validation metric.
    """
    with FileLock(run.job_lock):
        metric = finished_metric(run)
        if metric is not None:
            log.info("finished already: %s", run.path)
            return metric
        # A job without a checkpoint begins again, so that no earlier value matters.
        begins_again = not run.checkpoints.is_dir()
        allow_drift = config.resume.allow_drift or begins_again
        resume = ResumeConfig(run="auto", allow_drift=allow_drift)
        return main(replace(config, resume=resume), run, resolved)


def record_failure(run: RunDir, error: Exception) -> None:
    """Records why a job failed, unless the job itself has recorded how it ended.

    Args:
        run: the job's folder.
        error: the reason.
    """
    if has_ended(run):
        return
    run.path.mkdir(parents=True, exist_ok=True)
    reason = redact(str(error)) or type(error).__name__
    results: dict[str, Any] = {
        **_logged_metrics(run),
        "name": run.path.name,
        "status": "failed",
        "error": reason,
    }
    write_results(run, results)


def _logged_metrics(run: RunDir) -> dict[str, Any]:
    """The metrics that earlier sessions of the run logged, under their key."""
    try:
        results = read_json(run.results)
    except ConfigError:
        return {}
    if "metrics" not in results:
        return {}
    return {"metrics": results["metrics"]}
