"""The benchmark's mode `processes`: our sum of gradients and an all-reduce, in turn."""

import logging
import math
import statistics
import sys
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from ostinato.config import BenchmarkConfig, RunConfig
from ostinato.errors import ConfigError, ProcessFailed, ProcessLost
from ostinato.interruption import Stop
from ostinato.model.device import available_cores, check_cores
from ostinato.proof.all_reduce import with_all_reduce
from ostinato.proof.scaling import fixed_order_bytes, ring_bytes
from ostinato.proof.throughput import Measurements, synchronise
from ostinato.run.followers import started
from ostinato.torchrun import Place
from ostinato.training.distributed import Team
from ostinato.training.optimization import Optimization
from ostinato.training.prepare import prepare
from ostinato.training.roles import Leader
from ostinato.training.stores import join_store, serve_store

_SECONDS_FOR_REASON = 2.0
_IO_COUNTERS = Path("/proc/self/io")


@dataclass(frozen=True)
class _Job:
    """What the processes measure together.

    Attributes:
        config: the training config.
        steps: number of optimizer steps, after a first one that is not measured.
        size: number of processes.
        all_reduce: use DistributedDataParallel instead of our sum.
    """

    config: RunConfig
    steps: int
    size: int
    all_reduce: bool


def measure_processes(cfg: BenchmarkConfig, config: RunConfig) -> Measurements:
    """Measures the time of an optimizer step for several numbers of processes.

    Args:
        cfg: numbers of steps, turns and processes.
        config: the training config.

    Returns:
        For each number of processes: seconds of a step with our sum and with an
        all-reduce, their ratio, and for process 0 the seconds of the processor and the
        bytes that it sends in a step.

    Raises:
        ConfigError: there are fewer micro-batches than processes.
        ProcessFailed: another process failed.
    """
    _check(cfg, config)
    turns = [_turn(cfg, config, number) for number in range(cfg.turns)]
    return {
        "accumulate": config.training.accumulate,
        "processes": {str(size): _summary(turns, size) for size in cfg.processes},
        "turns": turns,
    }


def _check(cfg: BenchmarkConfig, config: RunConfig) -> None:
    training = config.training
    most = max(cfg.processes, default=0)
    key = f"processes={cfg.processes}".replace(" ", "")
    if most < 1:
        raise ConfigError([f"{key}: use one number or more, e.g. processes=[1,2]"])
    if most > training.accumulate:
        number = f"training.accumulate={training.accumulate}"
        problem = f"{key}: a step has fewer micro-batches ({number})"
        remedy = f"use overrides=[training.accumulate={most}] or a multiple of it"
        raise ConfigError([f"{problem}; {remedy}"])
    if training.compile:
        problem = "mode=processes measures no compiled model"
        raise ConfigError([f"training.compile=true: {problem}; use false"])
    check_cores("processes", most)


def _turn(cfg: BenchmarkConfig, config: RunConfig, number: int) -> Measurements:
    """Measures everything once. The order alternates, because it matters."""
    jobs = [
        _Job(_sharing_threads(config, size), cfg.steps, size, all_reduce)
        for size in cfg.processes
        for all_reduce in (False, True)
    ]
    if number % 2 == 1:
        jobs.reverse()
    turn: Measurements = {str(size): {} for size in cfg.processes}
    for job in jobs:
        name = "all_reduce" if job.all_reduce else "fixed_order"
        turn[str(job.size)][name] = _measure(job)
    return turn


def _sharing_threads(config: RunConfig, size: int) -> RunConfig:
    threads = config.training.threads or max(1, available_cores() // size)
    return replace(config, training=replace(config.training, threads=threads))


def _summary(turns: list[Measurements], size: int) -> Measurements:
    """Medians over the turns; ratios are taken within a turn."""
    ours, peer = (
        [turn[str(size)][name] for turn in turns]
        for name in ("fixed_order", "all_reduce")
    )
    first = ours[0]
    gradient, transfers = first["gradient_bytes"], first["transfers"]
    pairs = list(zip(ours, peer, strict=True))
    return {
        "threads": first["threads"],
        "step_s": _median(ours, "step_s"),
        "cpu_s": _median(ours, "cpu_s"),
        "all_reduce_step_s": _median(peer, "step_s"),
        "all_reduce_cpu_s": _median(peer, "cpu_s"),
        "times_all_reduce": statistics.median(
            theirs["step_s"] / own["step_s"] for own, theirs in pairs
        ),
        "gradient_bytes": gradient,
        "transfers": transfers,
        "sent_bytes": first["sent_bytes"],
        "all_reduce_sent_bytes": peer[0]["sent_bytes"],
        "computed_bytes": round(fixed_order_bytes(size, gradient, transfers)),
        "ring_bytes": round(ring_bytes(size, gradient)),
    }


def _median(turns: list[Measurements], name: str) -> float:
    values: list[float] = [turn[name] for turn in turns]
    return statistics.median(values)


def _measure(job: _Job) -> Measurements:
    """Starts the other processes and measures in this one, which is process 0."""
    if job.size == 1 and not job.all_reduce:
        return _take_steps(job, None)
    store = serve_store()
    team = Team(store, Place(0, job.size, 0, job.size))
    team.messages.publish("job", TypeAdapter(_Job).dump_json(job).decode())
    timeout = job.config.training.process_timeout
    with started(store.port, job.size, follow) as followers:
        try:
            for rank in range(1, job.size):
                team.messages.wait_for(f"ready/{rank}", timeout, followers.check)
            measured = _take_steps(job, team)
            followers.end()
        except ProcessLost as error:
            failure, _ = team.messages.why_lost(job.size, _SECONDS_FOR_REASON)
            reason = failure["error"] if failure else followers.killed() or str(error)
            raise ProcessFailed(f"mode=processes: {reason}", 1) from None
        finally:
            team.close()
    return measured


def follow(port: int, rank: int, size: int) -> None:
    """Measures together with process 0.

    Args:
        port: of the store that process 0 serves.
        rank: number of this process.
        size: number of processes.
    """
    logging.disable()
    warnings.simplefilter("ignore")
    team = Team(join_store(port), Place(rank, size, rank, size))
    try:
        text = team.messages.wait_for("job", timeout=60.0)
        team.messages.publish(f"ready/{rank}", "")
        _take_steps(TypeAdapter(_Job).validate_json(text), team)
        team.close()
    except ProcessLost:
        sys.exit(1)
    except Exception as error:
        team.messages.report_failure({"error": f"{type(error).__name__}: {error}"})
        sys.exit(1)


def _take_steps(job: _Job, team: Team | None) -> Measurements:
    training = job.config.training
    prepared = prepare(job.config)
    own_sum = None if job.all_reduce else team
    optimization = Optimization(training, prepared, own_sum)
    if team is not None:
        team.form(training.process_timeout)
        if job.all_reduce:
            learner = with_all_reduce(optimization.learner, team)
            optimization.learner = learner
    prepared.model.train()
    leader = Leader(own_sum, Stop())

    begins, ends = [], []
    for step in range(job.steps + 1):
        begins.append(_clocks())
        if own_sum is None or own_sum.rank == 0:
            leader.step(step)  # a training announces each step
        else:
            own_sum.hear(None)
        total_steps = optimization.schedule.total_steps
        result = optimization.take_step(step % total_steps)
        synchronise(prepared)
        ends.append(_clocks())
    # The first step is slower.
    step_s, cpu_s, sent_bytes = np.median(np.subtract(ends, begins)[1:], axis=0)
    rounds = math.ceil(training.accumulate / job.size)
    trained = [p for p in prepared.model.parameters() if p.requires_grad]
    return {
        "step_s": float(step_s),
        "cpu_s": float(cpu_s),
        "sent_bytes": int(sent_bytes),
        "gradient_bytes": sum(p.numel() * p.element_size() for p in trained),
        "transfers": rounds + 1 + (optimization.sharded is not None),
        "threads": training.threads,
        "loss": result.loss.item(),
        "grad_norm": result.grad_norm.item(),
    }


def _clocks() -> tuple[float, float, int]:
    """Seconds, seconds of the processor, and bytes sent so far, of this process."""
    return time.perf_counter(), time.process_time(), _sent_bytes()


def _sent_bytes() -> int:
    """Bytes that this process has written so far, also to sockets; 0 if unknown."""
    if not _IO_COUNTERS.is_file():
        return 0
    counters = dict(
        line.split(": ") for line in _IO_COUNTERS.read_text("ascii").splitlines()
    )
    return int(counters["wchar"])
