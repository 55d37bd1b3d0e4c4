"""Trains a job of a sweep in its own process, so that a crash costs one job only.

The launcher of the job (the sweep itself, joblib, submitit or Ray) only waits. Jobs
of one process share the start-up: a fork server imports the libraries once and forks
for each job. A job ends when its parent ends. This needs a system that can fork.
"""

import logging
import logging.config
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from typing import Any

from ostinato.child_process import follow_parent, how_ended
from ostinato.config import RunConfig
from ostinato.errors import Interrupted, UserError
from ostinato.interruption import Stop, stop_on_signals
from ostinato.record.results import finished_metric, has_ended
from ostinato.run.session import session
from ostinato.run_dir import RunDir
from ostinato.sweep.jobs import record_failure
from ostinato.torchrun import Place

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.2


def train_in_subprocess(
    config: RunConfig,
    run: RunDir,
    resolved: dict[str, Any],
    logs: Mapping[str, Any],
) -> float | None:
    """Trains in another process and waits for it.

    Signals are forwarded to that process, so that it writes a checkpoint.

    Args:
        config: the run's config.
        run: its folder, which exists.
        resolved: the config as plain data, with secrets as references.
        logs: the process's logging, in the form of `logging.config.dictConfig`.

    Returns:
        The best monitored validation metric; None if the job failed. `results.json`
        then holds the reason.

    Raises:
        Interrupted: a signal stopped this process.
    """
    exit_code, stop = _run(_train, config, str(run.path), resolved, dict(logs))
    if exit_code == 0:
        return finished_metric(run)
    if stop.signal:
        raise Interrupted(f"{run.path}: stopped", stop.signal)
    _record_crash(run, exit_code)
    return None


def follow_in_subprocess(place: Place) -> None:
    """Follows task 0 of this job in another process until the job ends.

    Args:
        place: of this task, which has joined the tasks of the job.
    """
    _run(_follow, place)


def _run(main: Callable[..., None], *arguments: Any) -> tuple[int, Stop]:
    """Runs a function in another process.

    Returns:
        The exit code of the process; a signal's negative number if it was killed. And
        the signal that reached this process.
    """
    # Also as the default, because a child gets its parent's default and does not know
    # the one that joblib sets.
    multiprocessing.set_start_method("forkserver", force=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ostinato.run.train", "sklearn.metrics"])
    process = context.Process(target=main, args=arguments)
    with stop_on_signals() as stop:
        try:
            process.start()
            _wait(process, stop)
        finally:
            process.kill()  # does nothing if the process has ended
    return process.exitcode or 0, stop


def _wait(process: ForkServerProcess, stop: Stop) -> None:
    """Waits for a process; forwards the first signal to it."""
    is_forwarded = False
    while process.is_alive():
        process.join(_POLL_SECONDS)
        if stop.signal and not is_forwarded and process.pid:
            os.kill(process.pid, stop.signal)
            is_forwarded = True


def _record_crash(run: RunDir, exit_code: int) -> None:
    """Records how a job crashed, unless it recorded its own end.

    Args:
        run: the job's folder.
        exit_code: the process's exit code; a signal's negative number if it was
            killed.
    """
    if exit_code >= 0 and has_ended(run):
        return
    reason = how_ended(exit_code)
    log.error("%s: %s", run.path, reason)
    record_failure(run, RuntimeError(reason))


def _train(
    config: RunConfig,
    folder: str,
    resolved: dict[str, Any],
    logs: dict[str, Any],
) -> None:
    """The main function of a process that trains."""
    follow_parent()  # Ctrl-C goes to the parent only, which forwards it once
    run = RunDir(folder)
    logging.config.dictConfig(_log_into(run, logs))
    from ostinato.run.train import train

    try:
        with session(run, wait=True):  # another command may train the same job
            train(config, run, resolved)
    except Interrupted as error:
        log.error("%s", error)
        sys.exit(error.exit_code)
    except UserError as error:
        log.error("%s", error)
        record_failure(run, error)
        sys.exit(error.exit_code)
    except Exception as error:
        log.exception("stopped by an error in the program or in a library")
        record_failure(run, error)
        sys.exit(1)


def _follow(place: Place) -> None:
    """The main function of a process that follows task 0."""
    follow_parent()
    from ostinato.run.follow import follow_tasks

    follow_tasks(place)


def _log_into(run: RunDir, logs: dict[str, Any]) -> dict[str, Any]:
    """The logging with the run's own file, because a trial has several runs."""
    handlers = {}
    for name, handler in logs.get("handlers", {}).items():
        handlers[name] = dict(handler)
        if "filename" in handler:
            handlers[name]["filename"] = str(run.log)
    return {**logs, "handlers": handlers}
