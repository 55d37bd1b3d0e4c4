"""The jobs of a sweep: each has a folder by what it is, runs once, and goes on where it was stopped.

A job is its resolved config without observers, the code, and the content of its data files. The same command again
therefore finds its jobs, whatever their number, and a changed config is another job in another folder. What a hub
serves is not looked at.
"""

import glob
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from ostinato.atomic import write_json
from ostinato.config import ResumeConfig, RunConfig
from ostinato.drift import without_observers
from ostinato.errors import ConfigError
from ostinato.redaction import redact
from ostinato.run_dir import RunDir, read_json
from ostinato.source import code_digest

log = logging.getLogger(__name__)


def job_folder(sweep: Path, name: str, config: Mapping[str, Any]) -> str:
    """Name of a job's folder in a sweep: the one that it already has, or NAME and the digest of what it is.

    Args:
        sweep: the sweep's folder; need not be there.
        name: how a new folder's name begins.
        config: the resolved config.
    """
    key = _key(config)
    return next((path.name for path in sorted(sweep.glob(f"*_{key}"))), f"{name}_{key}")


def _key(config: Mapping[str, Any]) -> str:
    decisive = without_observers({name: value for name, value in config.items() if name != "seed"})
    files = {str(file): _content(file) for file in _data_files(config.get("data", {}))}
    text = json.dumps([decisive, code_digest(), files], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _data_files(data: Mapping[str, Any]) -> Iterator[Path]:
    for key in ("train_path", "val_path", "test_path"):
        if data.get("source") == "files" and data.get(key):
            yield from map(Path, sorted(glob.glob(str(Path(data[key]).expanduser()), recursive=True)))


def _content(path: Path) -> str:
    if not path.is_file():
        return ""
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
        The best monitored validation figure.
    """
    with FileLock(run.lock):
        results = _results(run)
        if results.get("status") == "finished":
            log.info("finished already: %s", run.path)
            return best_figure(results)
        run.results.unlink(missing_ok=True)  # what an earlier attempt died of
        if run.checkpoints.is_dir():
            config = replace(config, resume=ResumeConfig(run="auto", allow_drift=config.resume.allow_drift))
        return main(config, run, resolved)


def record_failure(run: RunDir, error: Exception) -> None:
    """Writes why a job failed, where it failed before it could write that itself."""
    if not run.results.exists():
        run.path.mkdir(parents=True, exist_ok=True)
        reason = redact(str(error)) or type(error).__name__
        write_json(run.results, {"name": run.path.name, "status": "failed", "error": reason})


def _results(run: RunDir) -> dict[str, Any]:
    try:
        return read_json(run.results)
    except ConfigError:
        return {}  # never written, or damaged: not finished


def best_figure(results: Mapping[str, Any]) -> float:
    """The best monitored validation figure of a finished run's results."""
    evaluation = next(e for e in results["validation"] if e["step"] == results["best_step"])
    return float(evaluation[results["monitor"]])
