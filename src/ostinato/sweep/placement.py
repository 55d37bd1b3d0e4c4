"""Places the processes of a job on the nodes of a Ray cluster.

The task of such a job takes no share of the cluster. It reserves a share for each
process, all at once, so that no job waits for what another one holds. A task in each
share is one process of the training, as with SLURM. If a task is lost with its node,
all of them start again and resume.
"""

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from ostinato import torchrun
from ostinato.config import RunConfig
from ostinato.errors import ConfigError, ProcessFailed, ProcessLost
from ostinato.run_dir import RunDir
from ostinato.sweep import jobs, worker
from ostinato.torchrun import Place

log = logging.getLogger(__name__)

_MOST_RESTARTS = 3  # like Ray's max_retries
_SECONDS_TO_PLACE = 5.0
_SECONDS_TO_END = 10.0
_GRAINS = 10_000  # Ray rounds amounts to a part of this size


def job_runner(logs: Mapping[str, Any]) -> jobs.Job:
    """How this process runs a job: in a process of its own, or on several nodes.

    Args:
        logs: the logging of the job, in the form of `logging.config.dictConfig`.
    """
    if not _holds_nothing():
        return partial(jobs.run_once, partial(worker.train_in_subprocess, logs=logs))
    on_nodes = partial(_train_on_nodes, logs=logs)
    return partial(_run_again_if_lost, partial(jobs.run_once, on_nodes))


def _holds_nothing() -> bool:
    """Whether this is a task of Ray that has no share of the cluster."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return False
    held = ray.get_runtime_context().get_assigned_resources()
    return not held.get("CPU") and not held.get("GPU")


def _run_again_if_lost(
    main: jobs.Job, config: RunConfig, run: RunDir, resolved: dict[str, Any]
) -> float | None:
    for restarts in range(_MOST_RESTARTS + 1):
        try:
            return main(config, run, resolved)
        except ProcessLost as error:
            lost = f"{run.path}: process {error.rank} was lost ({error})"
        if restarts < _MOST_RESTARTS:
            log.warning("%s; the job starts again", lost)
    raise ProcessFailed(f"{lost}, after {_MOST_RESTARTS} restarts", 1)


def _train_on_nodes(
    config: RunConfig, run: RunDir, resolved: dict[str, Any], logs: Mapping[str, Any]
) -> float | None:
    """Trains in tasks of Ray; the arguments and the result of `train_in_subprocess`.

    Raises:
        ConfigError: the cluster has no room for the job.
        ProcessLost: Ray lost a task.
    """
    with _shares(config, run) as group:
        from ostinato.training.stores import serve_open_store  # imports torch

        store = serve_open_store(0)
        job = (config, str(run.path), resolved, dict(logs))
        tasks = _start(group, config, store.port, job)
        metric = _wait(tasks)
        del store  # the other processes end with it
        _end(tasks, is_finished=metric is not None)
        return metric


@contextmanager
def _shares(config: RunConfig, run: RunDir) -> Iterator[Any]:
    """Reserves one share of the cluster for each process, on as few nodes as possible.

    Raises:
        ConfigError: the cluster has no room for the job.
    """
    from ray.util import get_placement_group, placement_group, remove_placement_group

    name = str(run.path)
    # An earlier task of this job was lost with its node. Ray keeps what it reserved.
    with suppress(ValueError):
        remove_placement_group(get_placement_group(name))
    group = placement_group(
        [_share(config)] * _size(config), strategy="PACK", name=name
    )
    try:
        _wait_for_room(group, config, run)
        yield group
    finally:
        remove_placement_group(group)


def _size(config: RunConfig) -> int:
    size = config.training.processes
    if isinstance(size, int):
        return size
    problem = "training.processes=auto: is the number of GPUs of one node"
    remedy = "set hydra.launcher.ray.remote.num_gpus to it, or use a number"
    raise ConfigError([f"{problem}; {remedy}"])


def _share(config: RunConfig) -> dict[str, float]:
    """What each process takes."""
    share = {"CPU": config.ray.cpus_per_process, "GPU": config.ray.gpus_per_process}
    return {kind: amount for kind, amount in share.items() if amount}


def _wait_for_room(group: Any, config: RunConfig, run: RunDir) -> None:
    size, share = _size(config), _share(config)
    each = " and ".join(f"{amount:g} {kind}s" for kind, amount in share.items())
    job = f"training.processes={size} with {each} each"
    # If a node is lost, another one can take its place.
    may_wait = config.ray.wait_for_nodes or run.began
    shown = None
    while not group.wait(_SECONDS_TO_PLACE):
        room = _room(share)
        if room >= size:
            may_wait = True
            line = f"{job}: waits until they are free"
        else:
            line = f"{job}: the cluster has room for {room} processes"
            if not may_wait:
                remedy = "use fewer, or ray.wait_for_nodes=true if nodes will join"
                raise ConfigError([f"{line}; {remedy}"])
            line += "; waits for nodes"
        if line != shown:
            log.warning("%s", line)
            shown = line


def _room(share: dict[str, float]) -> int:
    """For how many shares the nodes of the cluster have room, free or not."""
    import ray

    room = 0
    for node in ray.nodes():
        if node["Alive"]:
            total = node["Resources"]
            room += min(
                round(total.get(kind, 0) * _GRAINS) // round(amount * _GRAINS)
                for kind, amount in share.items()
            )
    return room


def _start(group: Any, config: RunConfig, port: int, job: tuple[Any, ...]) -> list[Any]:
    """Starts one task in each share. Task 0 leads, and only it gets the job."""
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    share = _share(config)
    # A task with max_calls=1 has a new process, so it leaves no variables to others.
    remote = ray.remote(
        num_cpus=share["CPU"],
        num_gpus=share.get("GPU", 0),
        max_retries=0,
        max_calls=1,
    )
    address = ray.util.get_node_ip_address()
    tasks = []
    for rank in range(group.bundle_count):
        strategy = PlacementGroupSchedulingStrategy(
            group, placement_group_bundle_index=rank
        )
        task = remote(_run_process).options(scheduling_strategy=strategy)
        # Ray shows a task its own CPUs and GPUs only, as if it were alone on its node.
        place = Place(rank, group.bundle_count, local_rank=0, local_size=1)
        tasks.append(task.remote(place, address, port, job if rank == 0 else None))
    return tasks


def _run_process(
    place: Place, address: str, port: int, job: tuple[Any, ...] | None
) -> float | None:
    """The main function of a task that is one process of the training."""
    torchrun.join_tasks(place, address, port)
    if job is None:
        worker.follow_in_subprocess(place)
        return None
    config, folder, resolved, logs = job
    return worker.train_in_subprocess(config, RunDir(folder), resolved, logs)


def _wait(tasks: list[Any]) -> float | None:
    """The result of task 0.

    Raises:
        ProcessLost: Ray lost a task.
    """
    import ray

    running = tasks
    while True:
        (ended,), running = ray.wait(running)
        result = _result(tasks, ended)
        if ended == tasks[0]:
            return result


def _end(tasks: list[Any], is_finished: bool) -> None:
    """Waits until the other tasks have ended.

    Raises:
        ProcessLost: Ray lost a task, so the training failed.
    """
    import ray

    if is_finished:
        ray.wait(tasks, num_returns=len(tasks), timeout=_SECONDS_TO_END)
        return
    # Ray notices a lost node later than the processes that were connected to it.
    for task in tasks:
        _result(tasks, task)


def _result(tasks: list[Any], task: Any) -> float | None:
    import ray

    try:
        result: float | None = ray.get(task)
    except ray.exceptions.RayError as error:
        raise ProcessLost(_line(error), tasks.index(task)) from None
    return result


def _line(error: Exception) -> str:
    """The reason in one line, without Ray's advice."""
    text = str(error).strip()
    if "Traceback" in text:
        return text.splitlines()[-1]
    return text.split(". ")[0].split("\n")[0] or type(error).__name__
