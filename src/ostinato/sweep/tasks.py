"""The tasks of a submitted job, which train together.

submitit runs a job's function in each task of the job, on one node or several. Task 0
leads, and the others follow it. Task 0 does for them what torchrun does for its
processes, so that a run takes them for processes of torchrun.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from ostinato import torchrun
from ostinato.storage import scratch
from ostinato.torchrun import Place

if TYPE_CHECKING:
    from submitit.helpers import TorchDistributedEnvironment


def follows() -> bool:
    """Whether this process is a task that follows task 0 of its job."""
    tasks = _tasks()
    return tasks is not None and tasks.rank > 0


@cache
def scratch_folder() -> str:
    """A folder for what Hydra writes in a task that follows; removed at the end."""
    return str(scratch.scratch_folder("ostinato-task-"))


def join() -> Place:
    """Makes this task a process of torchrun for those that it starts.

    Returns:
        Where it stands among the tasks.
    """
    tasks = _tasks()
    assert tasks is not None, "the job has one task"
    place = Place(
        tasks.rank, tasks.world_size, tasks.local_rank, tasks.local_world_size
    )
    torchrun.join_tasks(place, tasks.master_addr, tasks.master_port)
    return place


@contextmanager
def leading() -> Iterator[None]:
    """Serves the store of the tasks; they end with it. Does nothing for one task."""
    tasks = _tasks()
    if tasks is None:
        yield
        return
    from ostinato.training.stores import serve_open_store  # imports torch

    join()
    store = serve_open_store(tasks.master_port)
    yield
    del store


def _tasks() -> "TorchDistributedEnvironment | None":
    """The tasks of this job; None if it is not submitted, or has one task."""
    if "SUBMITIT_EXECUTOR" not in os.environ:
        return None
    from submitit.helpers import TorchDistributedEnvironment

    tasks = TorchDistributedEnvironment()
    return tasks if tasks.world_size > 1 else None
