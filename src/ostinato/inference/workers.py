"""Processes of this machine that load a model once and compute with it.

A fork server imports the libraries once and forks for each process. This needs a system
that can fork.
"""

import logging
import multiprocessing
import queue
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Any

import torch

from ostinato.child_process import follow_parent, how_ended
from ostinato.config import Device
from ostinato.errors import ProcessFailed, UserError
from ostinato.model.device import count_gpus

log = logging.getLogger(__name__)

_TASKS_PER_WORKER = 2  # one that it computes, and the next one
_SECONDS_FOR_EXIT_CODE = 5.0

Compute = Callable[[Any], Any]
"""Computes the result of a task; both can be pickled."""


@dataclass(frozen=True)
class _Failure:
    """Why there is no result.

    Attributes:
        message: one line.
        details: the traceback, unless the user can fix it.
        exit_code: of the command.
    """

    message: str
    details: str
    exit_code: int


@dataclass(frozen=True)
class _Worker:
    name: str
    process: ForkServerProcess
    connection: Connection


class Workers:
    """Processes that compute tasks.

    Args:
        workers: the processes.
        timeout: seconds to wait for a result.
    """

    def __init__(self, workers: list[_Worker], timeout: float) -> None:
        self._most_tasks = _TASKS_PER_WORKER * len(workers)
        self._timeout = timeout
        # Each thread waits for one process.
        self._threads = ThreadPoolExecutor(len(workers))
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in workers:
            self._idle.put(worker)

    def map(self, tasks: Iterable[Any]) -> Iterator[Any]:
        """Computes tasks in constant memory.

        A result that is ready does not wait for more than one further task to be read.

        Yields:
            The results, in the order of the tasks.

        Raises:
            UserError: a task cannot be read, or its computation raised this error. The
                results of the tasks before it are yielded first.
            ProcessFailed: a process was killed, does not answer, or has another error.
        """
        remaining = iter(tasks)
        started: deque[Future[Any]] = deque()
        mistake: UserError | None = None
        while mistake is None:
            try:
                started.append(self._threads.submit(self._compute, next(remaining)))
            except StopIteration:
                break
            except UserError as error:
                mistake = error
            while started and (started[0].done() or len(started) > self._most_tasks):
                yield self._result(started.popleft())
        while started:
            yield self._result(started.popleft())
        if mistake is not None:
            raise mistake

    def close(self) -> None:
        """Forgets the tasks that have no result; the processes have ended."""
        self._threads.shutdown(cancel_futures=True)

    def _compute(self, task: Any) -> Any:
        """Has an idle process compute a task; runs in a thread."""
        worker = self._idle.get()
        try:
            worker.connection.send(task)
            return worker.connection.recv()
        except (EOFError, OSError):
            worker.process.join(_SECONDS_FOR_EXIT_CODE)
            code = worker.process.exitcode
            how = "does not answer" if code is None else how_ended(code)
            return _Failure(f"{worker.name}: {how}", "", 1)
        finally:
            self._idle.put(worker)

    def _result(self, future: Future[Any]) -> Any:
        try:
            result = future.result(self._timeout)
        except TimeoutError:
            problem = f"a process has not answered for {self._timeout:g} s"
            remedy = "raise process_timeout if it needs more time"
            raise ProcessFailed(f"{problem}; {remedy}", 1) from None
        if isinstance(result, _Failure):
            if result.details:
                log.error("%s", result.details.rstrip())
            raise ProcessFailed(result.message, result.exit_code)
        return result


@contextmanager
def started(
    load: Callable[..., Compute],
    arguments: tuple[Any, ...],
    *,
    count: int,
    device: Device,
    timeout: float,
) -> Iterator[Workers]:
    """Starts processes, and kills them at the end.

    Each one has the number of threads of this process and, if they compute on GPUs,
    its own GPU.

    Args:
        load: a function of a module; each process calls it once.
        arguments: of `load`.
        count: number of processes.
        device: what they compute on.
        timeout: seconds to wait for a result.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, load.__module__])
    has_gpus = count_gpus(device) > 0
    running: list[_Worker] = []
    workers: Workers | None = None
    try:
        for number in range(count):
            ours, theirs = context.Pipe()
            gpu = number if has_gpus else None
            threads = torch.get_num_threads()
            target = (theirs, threads, gpu, load, arguments)
            process = context.Process(target=_work, args=target)
            process.start()
            theirs.close()  # so that `ours` ends with the process
            running.append(_Worker(f"process {number + 1} of {count}", process, ours))
        workers = Workers(running, timeout)
        yield workers
    finally:
        for worker in running:
            worker.process.kill()
        for worker in running:
            worker.process.join()
        if workers is not None:
            workers.close()
        for worker in running:
            worker.connection.close()


def _work(
    connection: Connection,
    threads: int,
    gpu: int | None,
    load: Callable[..., Compute],
    arguments: tuple[Any, ...],
) -> None:
    """The main function of a process."""
    follow_parent()
    # The parent loads the same model, and logs the same.
    logging.disable()
    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    if gpu is not None:
        torch.cuda.set_device(gpu)
    compute = _attempt(load, *arguments)
    is_loaded = not isinstance(compute, _Failure)
    try:
        while True:
            task = connection.recv()
            connection.send(_attempt(compute, task) if is_loaded else compute)
    except (EOFError, OSError):  # the parent has ended
        return


def _attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function, or a `_Failure`."""
    try:
        return function(*arguments)
    except UserError as error:
        return _Failure(str(error), "", error.exit_code)
    except Exception as error:
        line = f"{type(error).__name__}: {error}"
        return _Failure(line, traceback.format_exc(), 1)
