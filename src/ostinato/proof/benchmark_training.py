"""The benchmark's mode `training`: our loop, a bare loop, the peer, and the ceiling."""

import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from ostinato.config import BenchmarkConfig, RunConfig
from ostinato.data.splits import Split
from ostinato.errors import ConfigError
from ostinato.model.pretrained import locate
from ostinato.proof.throughput import (
    Measurements,
    bare_loop,
    count_flops,
    first_batches,
    matmul_ceiling,
    run_steps,
)
from ostinato.training.prepare import Prepared, prepare


def measure_training(cfg: BenchmarkConfig, config: RunConfig) -> Measurements:
    """Measures the speed of the training loop.

    Args:
        cfg: number of steps and turns, and the peer.
        config: the training config.

    Returns:
        Real tokens per second, the share of the matrix ceiling, the overhead over a
        bare loop, and the ratio to the peer.
    """
    prepared = prepare(config)
    flops = count_flops(prepared, config, cfg.steps)
    if config.training.compile:
        # The first run compiles, the second one records CUDA graphs.
        run_steps(prepared, config, cfg.steps)
        run_steps(prepared, config, cfg.steps)
    turns = [_turn(cfg, config, prepared, number) for number in range(cfg.turns)]
    medians = {name: _median(turns, name) for name in turns[0]}
    return {
        **medians,
        **_derived(medians, turns, flops),
        "precision": prepared.compute.precision.value,
        "turns": turns,
    }


def _turn(
    cfg: BenchmarkConfig,
    config: RunConfig,
    prepared: Prepared,
    number: int,
) -> Measurements:
    """Measures each loop once. The first loop alternates, because order matters."""
    loops = [run_steps, _run_bare_loop]
    if number % 2 == 1:
        loops.reverse()
    turn: Measurements = {}
    for measure in loops:
        turn |= measure(prepared, config, cfg.steps)
    turn["ceiling_gflops"] = matmul_ceiling(prepared)
    if cfg.peer is not None:
        turn["peer_tokens_per_s"] = _run_peer(cfg.peer, cfg, config, prepared)
    return turn


def _derived(
    medians: Measurements,
    turns: list[Measurements],
    flops: int,
) -> Measurements:
    """Ratios; those between loops are taken within a turn."""
    gflops_per_s = flops / medians["seconds"] / 1e9
    slowdowns = [turn["bare_tokens_per_s"] / turn["tokens_per_s"] for turn in turns]
    derived = {
        "share_of_ceiling": gflops_per_s / medians["ceiling_gflops"],
        "overhead": statistics.median(slowdowns) - 1,
        # The bare loop gets its batches ready-made.
        "share_of_batches": medians["batches_s"] / medians["seconds"],
    }
    if "peer_tokens_per_s" in turns[0]:
        ratios = [turn["tokens_per_s"] / turn["peer_tokens_per_s"] for turn in turns]
        derived["times_the_peer"] = statistics.median(ratios)
    return derived


def _median(turns: list[Measurements], name: str) -> float:
    values: list[float] = [turn[name] for turn in turns]
    return statistics.median(values)


def _run_bare_loop(prepared: Prepared, config: RunConfig, steps: int) -> Measurements:
    began = time.perf_counter()
    first_batches(prepared, config, steps)
    seconds = time.perf_counter() - began
    # The stance is that of the program's own loop.
    with torch.compiler.set_stance("eager_on_recompile"):
        tokens_per_s = bare_loop(prepared, config, steps)
    return {"batches_s": seconds, "bare_tokens_per_s": tokens_per_s}


def _run_peer(
    peer: str,
    cfg: BenchmarkConfig,
    config: RunConfig,
    prepared: Prepared,
) -> float:
    """Measures another program on the same rows, model folder and settings.

    It trains one epoch with the same batch size, length and precision.

    Args:
        peer: the program's Python script.
        cfg: its further options, and the number of steps.
        config: the training config.
        prepared: the data.

    Returns:
        Its tokens per second.

    Raises:
        ConfigError: the peer fails, or its last line is not the expected JSON.
    """
    with tempfile.TemporaryDirectory() as folder:
        _write_split(Path(folder) / "train.csv", prepared, prepared.data.train)
        _write_split(Path(folder) / "test.csv", prepared, prepared.data.test)
        options = _peer_options(Path(folder), cfg, config, prepared)
        done = subprocess.run(
            [sys.executable, peer, *options, *cfg.peer_options],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        last = lines[-1] if lines else "?"
        code = done.returncode
        raise ConfigError([f"peer={peer}: ended with exit code {code}: {last}"])
    try:
        measured = json.loads(done.stdout.strip().splitlines()[-1])
        return float(measured["tokens_per_s"])
    except (IndexError, KeyError, TypeError, ValueError):
        reason = "its last line must be a JSON object with tokens_per_s"
        raise ConfigError([f"peer={peer}: {reason}"]) from None


def _write_split(path: Path, prepared: Prepared, split: Split | None) -> None:
    labels = prepared.data.labels
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        if split is not None:
            for text, number in zip(split.rows["text"], split.targets, strict=True):
                table.writerow([text, labels[number]])


def _peer_options(
    folder: Path,
    cfg: BenchmarkConfig,
    config: RunConfig,
    prepared: Prepared,
) -> list[str]:
    values = {
        "model": locate(config.model.name),
        "data": folder,
        "precision": prepared.compute.precision.value,
        "batch-size": config.training.batch_size,
        "max-length": config.model.max_length,
        "limit": cfg.steps * config.training.batch_size,
        "attention-dropout": config.model.attention_dropout,
        "hidden-dropout": config.model.dropout,
    }
    options = []
    for name, value in values.items():
        if value is not None:
            options += [f"--{name}", str(value)]
    return options
