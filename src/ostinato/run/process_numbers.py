"""How many processes a run has, and how many threads each of them."""

import logging
import os
from dataclasses import replace

import torch

from ostinato import torchrun
from ostinato.config import Precision, RunConfig
from ostinato.errors import ConfigError
from ostinato.model.device import (
    available_cores,
    check_cores,
    choose,
    default_threads,
    may_use_gpu,
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
    if is_given or not torchrun.shares_cores():
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
    training = config.training
    if isinstance(training.processes, int):
        return training.processes
    return max(1, torch.cuda.device_count()) if may_use_gpu(training.device) else 1


def _check_size(config: RunConfig, place: Place) -> None:
    training = config.training
    size = place.size
    if torchrun.place() is not None and _count(config) not in (1, size):
        problem = f"{size} processes were started already"
        raise ConfigError(
            [f"training.processes={training.processes}: {problem}; omit the key"]
        )
    key = f"training.processes={size}"
    if size > training.accumulate:
        few = f"{key}: a step has only {training.accumulate} micro-batches"
        remedy = f"use training.accumulate={size} or a multiple of it"
        raise ConfigError([f"{few}; {remedy}"])
    gpus = torch.cuda.device_count()
    if may_use_gpu(training.device) and gpus < place.local_size:
        raise ConfigError([f"{key}: this machine has {gpus} GPUs; use at most {gpus}"])
    if size > 1 and choose(training.device, Precision.fp32).device.type == "mps":
        problem = "an Apple GPU computes in one process only"
        raise ConfigError([f"{key}: {problem}; use training.device=cpu"])
    check_cores("training.processes", place.local_size)


def _warn_if_crowded(config: RunConfig, place: Place) -> None:
    """Warns if the processes of this machine use more threads than they were given."""
    given = default_threads() if torchrun.place() is None else available_cores()
    used = place.local_size * (config.training.threads or 1)
    if place.size > 1 and used > given and not may_use_gpu(config.training.device):
        log.warning(
            "training.processes=%d: the processes use %d CPU threads, but this job has "
            "%d; they will wait for each other",
            *(place.size, used, given),
        )
