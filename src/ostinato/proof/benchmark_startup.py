"""The benchmark's modes for time and memory up to the first step.

`prepare` measures this process; `startup` and `memory` start new ones.
"""

import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from ostinato.command_line import override, quoted
from ostinato.config import BenchmarkConfig, RunConfig
from ostinato.data.assets import cache_dir
from ostinato.data.batching import plan_epoch
from ostinato.errors import ConfigError
from ostinato.proof.throughput import Measurements, run_steps
from ostinato.training.prepare import prepare

_WORDS = (
    "oil prices rose after the bank cut its rate and grain exports fell "
    "while gold traded at a record"
)
_MEASURED = ("prepare_s", "first_step_s", "to_first_step_s", "peak_rss_mib")


def measure_prepare(config: RunConfig) -> Measurements:
    """Measures the time from the imports to the end of the first step.

    Args:
        config: the training config.

    Returns:
        Number of rows, seconds, and peak memory in MiB.
    """
    began = time.perf_counter()
    prepared = prepare(config)
    prepare_s = time.perf_counter() - began
    first_step_s = run_steps(prepared, config, 1)["seconds"]
    peak_rss_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "rows": len(prepared.train.lengths),
        "prepare_s": prepare_s,
        "first_step_s": first_step_s,
        "to_first_step_s": prepare_s + first_step_s,
        "peak_rss_mib": peak_rss_kib // 1024,
    }


def measure_startup(cfg: BenchmarkConfig, script: Path) -> Measurements:
    """Measures a start with an empty cache, and the starts after it.

    Args:
        cfg: number of turns, and the overrides of the training.
        script: the benchmark's own script.

    Returns:
        Measurements of the first start, and medians of the later ones. Assets are
        cached in all of them.
    """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "assets").symlink_to(cache_dir() / "assets")
        first = _measure_process(cfg, script, cfg.overrides, folder)
        later = [
            _measure_process(cfg, script, cfg.overrides, folder)
            for _ in range(cfg.turns)
        ]
    again = {name: statistics.median(turn[name] for turn in later) for name in first}
    return {"first": first, "again": again}


def measure_memory(cfg: BenchmarkConfig, script: Path) -> Measurements:
    """Measures memory and start-up time for several numbers of rows.

    Args:
        cfg: numbers of rows, and the overrides of the training.
        script: the benchmark's own script.

    Returns:
        Measurements by number of rows. The rows are generated text.
    """
    measurements = {}
    with tempfile.TemporaryDirectory() as folder:
        for rows in cfg.rows:
            file = Path(folder) / f"{rows}.csv"
            _write_rows(file, rows)
            data = [
                "data=files",
                f"data.train_path={file}",
                f"data.val_path={file}",
                "data.limit_val=100",
            ]
            turn = _measure_process(
                cfg, script, [*cfg.overrides, *data], f"{folder}/cache"
            )
            turn["plan_s"] = _time_epoch_plan(rows)
            measurements[str(rows)] = turn
    return {"rows": measurements}


def _time_epoch_plan(rows: int) -> float:
    """Seconds to plan the batches of an epoch."""
    lengths = np.random.default_rng(0).integers(5, 200, rows).astype(np.int32)
    began = time.perf_counter()
    plan_epoch(lengths, 32, 0, RunConfig().training.batching)
    return time.perf_counter() - began


def _write_rows(path: Path, rows: int) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        for number in range(rows):
            words = _WORDS[number % 30 : 40 + number % 60]
            table.writerow([f"{number} {words}", "ab"[number % 2]])


def _measure_process(
    cfg: BenchmarkConfig,
    script: Path,
    overrides: list[str],
    cache: str,
) -> Measurements:
    """Measures the mode `prepare` in a new process.

    Args:
        cfg: the mode that is measured, for the message.
        script: the benchmark's own script.
        overrides: overrides of the training.
        cache: cache folder of the process.

    Raises:
        ConfigError: the process fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "measurements.json"
        arguments = [
            "mode=prepare",
            f"overrides=[{','.join(map(quoted, overrides))}]",
            override("output", str(output)),
        ]
        done = subprocess.run(
            [sys.executable, str(script), *arguments],
            env={**os.environ, "OSTINATO_CACHE": cache},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            last = done.stderr.strip().splitlines()[-1]
            raise ConfigError([f"mode={cfg.mode.value}: {last}"])
        measured: Measurements = json.loads(output.read_text(encoding="utf-8"))
    return {name: measured[name] for name in _MEASURED}
