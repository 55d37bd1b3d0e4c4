"""What torchrun tells a process about the processes that it started."""

import os
import signal
import threading
import time
from dataclasses import dataclass

# For processes whose store is served by the process that started them, as torchrun
# does.
SERVED_BY_AGENT = {
    "TORCHELASTIC_RUN_ID": "tasks",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
    "TORCHELASTIC_RESTART_COUNT": "0",
}

_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Place:
    """Where a process stands among all processes of a training.

    Attributes:
        rank: its number, from 0. Process 0 leads: it decides what is done, and it alone
            writes files.
        size: number of processes.
        local_rank: its number among the processes of its machine.
        local_size: number of processes of its machine.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int


def place() -> Place | None:
    """This process among those that torchrun started; None without torchrun."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    return Place(*(int(os.environ[name]) for name in names))


def are_tasks() -> bool:
    """Whether these processes are the tasks of a submitted job, each with own cores."""
    return "SUBMITIT_EXECUTOR" in os.environ


def stop_with_torchrun() -> None:
    """Stops this process with SIGTERM when torchrun itself ends, e.g. by SIGKILL."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
