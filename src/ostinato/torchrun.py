"""What torchrun tells a process about the processes that it started."""

import os
import signal
import threading
import time
from dataclasses import dataclass

_TASKS = "ostinato-tasks"

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
    return os.environ.get("TORCHELASTIC_RUN_ID") == _TASKS


def join_tasks(place: Place, address: str, port: int) -> None:
    """Makes a task of a submitted job a process of torchrun for those that it starts.

    Args:
        place: of this task among the tasks of the job.
        address: of the machine that serves the store of the tasks.
        port: of the store.
    """
    variables = {
        "TORCHELASTIC_RUN_ID": _TASKS,
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "MASTER_ADDR": address,
        "MASTER_PORT": port,
        "RANK": place.rank,
        "WORLD_SIZE": place.size,
        "LOCAL_RANK": place.local_rank,
        "LOCAL_WORLD_SIZE": place.local_size,
    }
    os.environ.update({name: str(value) for name, value in variables.items()})
    # The store ends before the processes. This is no error, but torch would show a
    # trace.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def stop_with_torchrun() -> None:
    """Stops this process with SIGTERM when torchrun itself ends, e.g. by SIGKILL."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
