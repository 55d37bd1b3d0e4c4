"""How many processes a run has, and how many threads each of them."""

import logging
import os
from dataclasses import replace

from ostinato import torchrun
from ostinato.config import Precision, RunConfig
from ostinato.errors import ConfigError
from ostinato.model.device import (
    available_cores,
    check_processes,
    choose,
    count_gpus,
    count_processes,
    default_threads,
)
from ostinato.record.files import read_provenance
from ostinato.run_dir import RunDir
from ostinato.torchrun import Place

log = logging.getLogger(__name__)


def with_threads(config: RunConfig, run: RunDir) -> RunConfig:
    """Fixes the number of threads of each process, because results depend on it.

    Args:
        config: the run's config. A number that it sets stays.
        run: the run folder. A run that continues keeps the number that it began with,
            if this machine has as many cores. Otherwise, the processes of one machine
            share its threads.
    """
    threads = config.training.threads
    if threads is None and config.resume.run is not None and run.all_checkpoints():
        threads = recorded_threads(run)
    threads = threads or _shared_threads(config)
    return replace(config, training=replace(config.training, threads=threads))


def recorded_threads(run: RunDir) -> int | None:
    """Threads of each process of a run; None if this machine has fewer cores."""
    if not run.provenance.is_file():
        return None
    threads = read_provenance(run)["threads"]
    return threads if 0 < threads <= available_cores() else None


def _shared_threads(config: RunConfig) -> int:
    place = torchrun.place()
    if place is None:
        return max(1, default_threads() // _count(config))
    # torchrun sets OMP_NUM_THREADS to 1 if it starts several processes.
    is_given = os.environ.get("OMP_NUM_THREADS") != "1"
    if is_given or torchrun.are_tasks():
        return default_threads()
    return max(1, available_cores() // place.local_size)


def own_place(config: RunConfig) -> Place:
    """The place of this process, which leads, among the processes of the run.

    Raises:
        ConfigError: there are more processes than micro-batches, cores or GPUs.
    """
    count = _count(config)
    place = torchrun.place() or Place(0, count, 0, count)
    _check_size(config, place)
    _warn_if_crowded(config, place)
    return place


def _count(config: RunConfig) -> int:
    """The number of processes that the config asks for."""
    return count_processes(config.training.processes, config.training.device)


def _check_size(config: RunConfig, place: Place) -> None:
    training = config.training
    size = place.size
    if torchrun.place() is not None and _count(config) not in (1, size):
        problem = f"{size} processes were started already"
        raise ConfigError(
            [f"training.processes={training.processes}: {problem}; omit the key"]
        )
    key = "training.processes"
    if size > training.accumulate:
        number = f"training.accumulate={training.accumulate}"
        few = f"{key}={size}: a step has fewer micro-batches ({number})"
        remedy = f"use training.accumulate={size} or a multiple of it"
        raise ConfigError([f"{few}; {remedy}"])
    check_processes(key, place.local_size, training.device)
    if size > 1 and choose(training.device, Precision.fp32).device.type == "mps":
        problem = "an Apple GPU computes in one process only"
        raise ConfigError([f"{key}={size}: {problem}; use training.device=cpu"])


def _warn_if_crowded(config: RunConfig, place: Place) -> None:
    """Warns if the processes of this machine use more threads than they were given."""
    given = default_threads() if torchrun.place() is None else available_cores()
    used = place.local_size * (config.training.threads or 1)
    if place.size > 1 and used > given and not count_gpus(config.training.device):
        log.warning(
            "training.processes=%d: the processes use %d CPU threads, but this job has "
            "%d; they will wait for each other",
            *(place.size, used, given),
        )
