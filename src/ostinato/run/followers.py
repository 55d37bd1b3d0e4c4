"""Starts the other processes of a training on this machine, and ends them with it.

A fork server imports the libraries once and forks for each process. This needs a system
that can fork.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess

from ostinato.child_process import follow_parent, how_ended
from ostinato.errors import ProcessLost
from ostinato.run.follow import follow_locally

_GRACE_SECONDS = 5.0


class Followers:
    """The processes that this process started.

    Args:
        processes: processes 1, 2, ... of the training.
    """

    def __init__(self, processes: list[ForkServerProcess]) -> None:
        self._processes = processes
        self._kills = False

    def check(self) -> None:
        """Checks that no process has ended.

        Raises:
            ProcessLost: one has.
        """
        for number, process in enumerate(self._processes, start=1):
            if process.exitcode is not None:
                how = how_ended(process.exitcode)
                raise ProcessLost(f"process {number} {how}")

    def killed(self) -> str:
        """Which process was killed, and how; empty if none was."""
        if self._kills:
            return "the other processes were killed by a second signal"
        for number, process in enumerate(self._processes, start=1):
            code = process.exitcode
            if code is None or code >= 0:
                continue
            name = f"process {number} of {len(self._processes) + 1}"
            return f"{name} was {how_ended(code)}"
        return ""

    def kill(self) -> None:
        """Kills all that have not ended, at a second signal."""
        self._kills = True
        for process in self._processes:
            process.kill()

    def end(self) -> None:
        """Waits until all have ended; kills those that do not end soon."""
        deadline = time.monotonic() + _GRACE_SECONDS
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
            process.kill()  # does nothing if the process has ended
            process.join()


@contextmanager
def started(
    port: int, size: int, follow: Callable[[int, int, int], None] = follow_locally
) -> Iterator[Followers]:
    """Starts processes 1 to `size - 1` and kills them at the end.

    Args:
        port: of the store that this process serves.
        size: number of processes, with this one.
        follow: what each process does with the port, its rank and the size.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ostinato.run.follow"])
    processes = []
    for rank in range(1, size):
        arguments = (follow, port, rank, size)
        processes.append(context.Process(target=_follow, args=arguments))
    try:
        for process in processes:
            process.start()
        yield Followers(processes)
    finally:
        for process in processes:
            if process.pid is not None:
                process.kill()
                process.join(_GRACE_SECONDS)


def _follow(
    follow: Callable[[int, int, int], None], port: int, rank: int, size: int
) -> None:
    """The main function of a new process."""
    follow_parent()  # Ctrl-C goes to process 0 only, which tells the others
    follow(port, rank, size)
