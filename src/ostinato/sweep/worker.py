"""A job of a sweep in a process of its own: one that crashes or is killed costs its own result and no other's.

Whatever launched the job (the sweep itself, joblib, submitit, Ray) only watches. Jobs of one process share the start:
a server imports once and forks for each. Ends with the watcher; needs a system that can fork.
"""

import logging
import logging.config
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from typing import Any

from ostinato.config import RunConfig
from ostinato.errors import Interrupted, UserError
from ostinato.interruption import Stop, stop_on_signals
from ostinato.record.results import finished_metric, has_ended
from ostinato.run.session import session
from ostinato.run_dir import RunDir
from ostinato.sweep.jobs import record_failure

log = logging.getLogger(__name__)


def train_apart(
    config: RunConfig, run: RunDir, resolved: dict[str, Any], logs: Mapping[str, Any]
) -> float | None:
    """Trains in another process and waits for it. Signals are handed on, so that it leaves a checkpoint.

    Args:
        config: the run's config.
        run: its folder, already made.
        resolved: the config as plain data to be shown.
        logs: the process's logging, as `logging.config` takes it.

    Returns:
        The best monitored validation metric; None when the job failed, and `results.json` says why.

    Raises:
        Interrupted: this process was asked to stop.
    """
    # As the default as well: a child is told its parent's default, and would not know joblib's.
    multiprocessing.set_start_method("forkserver", force=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ostinato.run.train", "sklearn.metrics"])
    process = context.Process(
        target=_train, args=(config, str(run.path), resolved, dict(logs))
    )
    with stop_on_signals() as stop:
        try:
            process.start()
            _wait(process, stop)
        finally:
            process.kill()  # nothing, if it has ended
    if process.exitcode == 0:
        return finished_metric(run)
    if stop.signal:
        raise Interrupted(f"{run.path}: stopped", stop.signal)
    _name_the_killer(run, process.exitcode or 0)
    return None


def _wait(process: ForkServerProcess, stop: Stop) -> None:
    told = False
    while process.is_alive():
        process.join(0.2)
        if stop.signal and not told and process.pid:
            os.kill(process.pid, stop.signal)
            told = True


def _name_the_killer(run: RunDir, exit_code: int) -> None:
    if exit_code >= 0 and has_ended(run):
        return  # it said why itself
    by = (
        signal.Signals(-exit_code).name
        if exit_code < 0
        else f"itself, with exit code {exit_code}"
    )
    hint = "; perhaps memory ran out" if exit_code == -signal.SIGKILL else ""
    error = f"killed by {by}{hint}"
    log.error("%s: %s", run.path, error)
    record_failure(run, RuntimeError(error))


def _train(
    config: RunConfig, folder: str, resolved: dict[str, Any], logs: dict[str, Any]
) -> None:
    os.setpgrp()  # Ctrl-C goes to the watcher, which hands it on once
    threading.Thread(target=_end_with_watcher, daemon=True).start()
    run = RunDir(folder)
    logging.config.dictConfig(_into(run, logs))
    from ostinato.run.train import train

    try:
        with session(run, wait=True):  # another command may go on with the same job
            train(config, run, resolved)
    except Interrupted as error:
        log.error("%s", error)
        sys.exit(error.exit_code)
    except UserError as error:
        log.error("%s", error)
        record_failure(run, error)
        sys.exit(2)
    except Exception as error:
        log.exception("stopped by an error of the program or of a library")
        record_failure(run, error)
        sys.exit(1)


def _into(run: RunDir, logs: dict[str, Any]) -> dict[str, Any]:
    """The logging with the run's own file: a trial of a search has several runs."""
    handlers = {
        name: handler | ({"filename": str(run.log)} if "filename" in handler else {})
        for name, handler in logs.get("handlers", {}).items()
    }
    return logs | {"handlers": handlers}


def _end_with_watcher() -> None:
    watcher = multiprocessing.parent_process()
    if watcher is not None:
        watcher.join()
        os.kill(
            os.getpid(), signal.SIGKILL
        )  # killed as the watcher was; the next start goes on from a checkpoint
