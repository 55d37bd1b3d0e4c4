"""Measures how fast the program is on this machine.

Each mode measures one thing and returns medians over turns. Things that are compared
run in turn in one process tree. Their ratio is therefore stable when seconds are not.
"""

from pathlib import Path

from ostinato.config import BenchmarkConfig, BenchmarkMode, RunConfig
from ostinato.proof.benchmark_parts import (
    measure_checkpoint,
    measure_determinism,
    measure_tokenisation,
)
from ostinato.proof.benchmark_processes import measure_processes
from ostinato.proof.benchmark_startup import (
    measure_memory,
    measure_prepare,
    measure_startup,
)
from ostinato.proof.benchmark_training import measure_training
from ostinato.proof.throughput import Measurements
from ostinato.record.provenance import environment


def benchmark(cfg: BenchmarkConfig, config: RunConfig, script: Path) -> Measurements:
    """Measures the mode `cfg.mode`.

    Args:
        cfg: what to measure, and how often.
        config: the training config that is measured.
        script: the benchmark's own script, for modes that need new processes.

    Returns:
        The mode, the overrides, the measurements by name, and the machine.

    Raises:
        ConfigError: a process that is measured fails, for example the peer.
    """
    measurements = _measure(cfg, config, script)
    here = environment()
    return {
        "mode": cfg.mode.value,
        "overrides": cfg.overrides,
        **measurements,
        "machine": {
            "platform": here["platform"],
            "cpu": here["cpu"],
            "gpu": here["gpu"],
            "threads": here["threads"],
        },
    }


def _measure(cfg: BenchmarkConfig, config: RunConfig, script: Path) -> Measurements:
    match cfg.mode:
        case BenchmarkMode.training:
            return measure_training(cfg, config)
        case BenchmarkMode.prepare:
            return measure_prepare(config)
        case BenchmarkMode.startup:
            return measure_startup(cfg, script)
        case BenchmarkMode.tokenisation:
            return measure_tokenisation(cfg, config)
        case BenchmarkMode.memory:
            return measure_memory(cfg, script)
        case BenchmarkMode.checkpoint:
            return measure_checkpoint(cfg, config)
        case BenchmarkMode.determinism:
            return measure_determinism(cfg, config)
        case BenchmarkMode.processes:
            return measure_processes(cfg, config)
