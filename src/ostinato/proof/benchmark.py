"""How fast the program is on this machine: each mode measures one thing and returns measurements, medians over turns.

What is compared runs in turn in one process tree, so that a ratio holds where seconds don't.
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
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ostinato.command_line import override, quoted
from ostinato.config import BenchmarkConfig, BenchmarkMode, Determinism, RunConfig
from ostinato.data.assets import cache_dir
from ostinato.data.batching import plan_epoch
from ostinato.data.splits import load_data
from ostinato.data.tokenise import tokenise
from ostinato.errors import ConfigError
from ostinato.model.build import load_tokenizer
from ostinato.model.pretrained import locate
from ostinato.proof.throughput import (
    Measurements,
    bare_loop,
    ceiling,
    count_flops,
    first_batches,
    run_steps,
)
from ostinato.record.provenance import environment
from ostinato.run_dir import RunDir
from ostinato.seeding import Seeds, set_determinism
from ostinato.training.checkpoint import TrainState, save_checkpoint
from ostinato.training.optim import build_optimizer
from ostinato.training.prepare import Prepared, prepare


def benchmark(cfg: BenchmarkConfig, config: RunConfig, script: Path) -> Measurements:
    """Measures what `cfg.mode` names.

    Args:
        cfg: what and how often.
        config: the training config that is measured.
        script: the benchmark's own script, for measurements that want a process of their own.

    Raises:
        ConfigError: the peer's script fails.
    """
    modes: dict[BenchmarkMode, Callable[[], Measurements]] = {
        BenchmarkMode.training: lambda: _training(cfg, config),
        BenchmarkMode.prepare: lambda: _prepare(config),
        BenchmarkMode.startup: lambda: _startup(cfg, script),
        BenchmarkMode.tokenisation: lambda: _tokenisation(cfg, config),
        BenchmarkMode.memory: lambda: _memory(cfg, script),
        BenchmarkMode.checkpoint: lambda: _checkpoint(cfg, config),
        BenchmarkMode.determinism: lambda: _determinism(cfg, config),
    }
    measurements = modes[cfg.mode]()
    here = environment()
    machine = {
        key: here[key] for key in ("platform", "cpu", "gpu", "threads") if key in here
    }
    return {
        "mode": cfg.mode.value,
        "overrides": cfg.overrides,
        **measurements,
        "machine": machine,
    }


def _training(cfg: BenchmarkConfig, config: RunConfig) -> Measurements:
    """Real tokens per second, the share of the matrix ceiling, the overhead over a bare loop, the peer's ratio."""
    prepared = prepare(config)
    flops = count_flops(prepared, config, cfg.steps)
    for _ in range(
        2 * config.training.compile
    ):  # one compiles, the other records CUDA graphs
        run_steps(prepared, config, cfg.steps)
    turns: list[Measurements] = []
    for number in range(cfg.turns):
        turn: Measurements = {}
        in_turn = (
            (run_steps, _bare) if number % 2 == 0 else (_bare, run_steps)
        )  # to come second is no help, then
        for measure in in_turn:
            turn |= measure(prepared, config, cfg.steps)
        turn["ceiling_gflops"] = ceiling(prepared)
        if cfg.peer is not None:
            turn["peer_tokens_per_s"] = _peer(cfg, config, prepared)
        turns.append(turn)
    medians = {
        name: statistics.median(turn[name] for turn in turns) for name in turns[0]
    }
    derived = {
        "share_of_ceiling": flops
        / medians["seconds"]
        / 1e9
        / medians["ceiling_gflops"],
        "overhead": statistics.median(
            t["bare_tokens_per_s"] / t["tokens_per_s"] for t in turns
        )
        - 1,
        "share_of_batches": medians["batches_s"]
        / medians["seconds"],  # the bare loop finds them made
    }
    if cfg.peer is not None:
        derived["times_the_peer"] = statistics.median(
            t["tokens_per_s"] / t["peer_tokens_per_s"] for t in turns
        )
    return {
        **medians,
        **derived,
        "precision": prepared.compute.precision.value,
        "turns": turns,
    }


def _bare(prepared: Prepared, config: RunConfig, steps: int) -> Measurements:
    began = time.perf_counter()
    first_batches(prepared, config, steps)
    seconds = time.perf_counter() - began
    with torch.compiler.set_stance("eager_on_recompile"):  # as the product's loop
        return {
            "batches_s": seconds,
            "bare_tokens_per_s": bare_loop(prepared, config, steps),
        }


def _peer(cfg: BenchmarkConfig, config: RunConfig, prepared: Prepared) -> float:
    """Tokens per second of another program: same rows, model folder, batch size, length, precision, one epoch."""
    assert cfg.peer is not None
    with tempfile.TemporaryDirectory() as folder:
        for split, name in (
            (prepared.data.train, "train"),
            (prepared.data.test, "test"),
        ):
            with (Path(folder) / f"{name}.csv").open(
                "w", newline="", encoding="utf-8"
            ) as file:
                table = csv.writer(file)
                table.writerow(["text", "label"])
                rows = split.rows if split else []
                table.writerows(
                    [row["text"], prepared.data.labels[row["label"]]] for row in rows
                )
        arguments = {
            "model": locate(config.model.name),
            "data": folder,
            "precision": prepared.compute.precision.value,
            "batch-size": config.training.batch_size,
            "max-length": config.model.max_length,
            "limit": cfg.steps * config.training.batch_size,
            "attention-dropout": config.model.attention_dropout,
            "hidden-dropout": config.model.dropout,
        }
        options = [
            text
            for name, value in arguments.items()
            if value is not None
            for text in (f"--{name}", str(value))
        ]
        done = subprocess.run(
            [sys.executable, cfg.peer, *options, *cfg.peer_options],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["?"])[-1]
        raise ConfigError(
            [f"peer={cfg.peer}: ended with exit code {done.returncode}: {last}"]
        )
    try:
        return float(json.loads(done.stdout.strip().splitlines()[-1])["tokens_per_s"])
    except (IndexError, KeyError, TypeError, ValueError):
        raise ConfigError(
            [f"peer={cfg.peer}: its last line must be a JSON object with tokens_per_s"]
        ) from None


def _prepare(config: RunConfig) -> Measurements:
    """Seconds from the imports to the end of the first step, and the peak of memory."""
    began = time.perf_counter()
    prepared = prepare(config)
    ready = time.perf_counter()
    seconds = run_steps(prepared, config, 1)["seconds"]
    return {
        "rows": len(prepared.train.lengths),
        "prepare_s": ready - began,
        "first_step_s": seconds,
        "to_first_step_s": ready - began + seconds,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _startup(cfg: BenchmarkConfig, script: Path) -> Measurements:
    """A first start, with nothing cached but assets, and the starts after it."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "assets").symlink_to(cache_dir() / "assets")
        turns = [
            _own_process(cfg, script, cfg.overrides, {"OSTINATO_CACHE": folder})
            for _ in range(cfg.turns + 1)
        ]
    again = {
        name: statistics.median(turn[name] for turn in turns[1:])
        for name in turns[0]
        if name != "machine"
    }
    return {"first": turns[0], "again": again}


def _tokenisation(cfg: BenchmarkConfig, config: RunConfig) -> Measurements:
    """Seconds to tokenise the training split, and to find it in the cache."""
    data = load_data(config.data, Seeds(config.training.seed, config.training.seeds))
    tokenizer = load_tokenizer(config.model, data.train.rows["text"])
    first: list[float] = []
    again: list[float] = []
    for _ in range(cfg.turns):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["OSTINATO_CACHE"] = folder
            for found in (first, again):
                began = time.perf_counter()
                split = tokenise(
                    data.train,
                    tokenizer,
                    config.model.max_length,
                    config.data.num_workers,
                )
                found.append(time.perf_counter() - began)
    seconds, tokens = statistics.median(first), int(split.lengths.sum())
    rates = {
        "rows_per_s": len(split.lengths) / seconds,
        "tokens_per_s": tokens / seconds,
    }
    return {
        "rows": len(split.lengths),
        "tokenise_s": seconds,
        "cached_s": statistics.median(again),
        **rates,
    }


def _memory(cfg: BenchmarkConfig, script: Path) -> Measurements:
    """Peak memory and start-up over the number of rows, on made-up text."""
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
            turn = _own_process(
                cfg,
                script,
                [*cfg.overrides, *data],
                {"OSTINATO_CACHE": f"{folder}/cache"},
            )
            lengths = np.random.default_rng(0).integers(5, 200, rows).astype(np.int32)
            began = time.perf_counter()
            plan_epoch(lengths, 32, 0, RunConfig().training.batching)
            measurements[str(rows)] = turn | {"plan_s": time.perf_counter() - began}
    return {"rows": measurements}


def _write_rows(path: Path, rows: int) -> None:
    words = "oil prices rose after the bank cut its rate and grain exports fell while gold traded at a record"
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        for number in range(rows):
            table.writerow(
                [f"{number} " + words[number % 30 : 40 + number % 60], "ab"[number % 2]]
            )


def _own_process(
    cfg: BenchmarkConfig, script: Path, overrides: list[str], extra: dict[str, str]
) -> Measurements:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "measurements.json"
        listed = ",".join(map(quoted, overrides))
        done = subprocess.run(
            [
                sys.executable,
                str(script),
                "mode=prepare",
                f"overrides=[{listed}]",
                override("output", str(output)),
            ],
            env={**os.environ, **extra},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ConfigError(
                [f"mode={cfg.mode.value}: {done.stderr.strip().splitlines()[-1]}"]
            )
        measurements: Measurements = json.loads(output.read_text(encoding="utf-8"))
    return {
        name: measurements[name]
        for name in ("prepare_s", "first_step_s", "to_first_step_s", "peak_rss_mib")
    }


def _checkpoint(cfg: BenchmarkConfig, config: RunConfig) -> Measurements:
    """Seconds that training stands still for a checkpoint, as a share of the run that takes them."""
    prepared = prepare(config)
    step_s = run_steps(prepared, config, cfg.steps)["seconds"] / cfg.steps
    optimizer = build_optimizer(prepared.model, config.training)
    for parameter in prepared.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    stalls = []
    with tempfile.TemporaryDirectory(dir=cfg.folder) as folder:
        for step in range(1, cfg.turns + 1):
            began = time.perf_counter()
            save_checkpoint(
                RunDir(folder), TrainState(step), prepared.model, optimizer, keep=1
            )
            stalls.append(time.perf_counter() - began)
    steps = len(prepared.train.lengths) / config.training.batch_size
    every = config.training.checkpoint_every or config.training.eval_every or steps
    stall = statistics.median(stalls)
    return {
        "stall_s": stall,
        "step_s": step_s,
        "steps_between": every,
        "share": stall / (every * step_s),
    }


def _determinism(cfg: BenchmarkConfig, config: RunConfig) -> Measurements:
    """Tokens per second under strict determinism and without any, in turn."""
    prepared = prepare(config)
    rates: dict[str, list[float]] = {"strict": [], "off": []}
    for _ in range(cfg.turns):
        for level, found in rates.items():
            set_determinism(Determinism(level))
            found.append(run_steps(prepared, config, cfg.steps)["tokens_per_s"])
    strict, off = (statistics.median(found) for found in rates.values())
    return {
        "strict_tokens_per_s": strict,
        "off_tokens_per_s": off,
        "cost": off / strict - 1,
    }
