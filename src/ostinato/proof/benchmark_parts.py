"""The benchmark's modes for single parts: tokenisation, checkpoint, determinism."""

import os
import statistics
import tempfile
import time

import torch

from ostinato.config import BenchmarkConfig, Determinism, RunConfig
from ostinato.data.long_texts import LongTexts
from ostinato.data.splits import load_data
from ostinato.data.tokenise import tokenise
from ostinato.model.build import load_tokenizer
from ostinato.proof.throughput import Measurements, run_steps
from ostinato.run_dir import RunDir
from ostinato.seeding import Seeds, set_determinism
from ostinato.training.checkpoint import CheckpointParts, TrainState, save_checkpoint
from ostinato.training.optim import build_optimizer
from ostinato.training.prepare import prepare


def measure_tokenisation(cfg: BenchmarkConfig, config: RunConfig) -> Measurements:
    """Measures the time to tokenise the training split, and to read it from the cache.

    Args:
        cfg: number of turns.
        config: the training config.

    Returns:
        Seconds, and rows and tokens per second.
    """
    data = load_data(config.data, Seeds(config.training.seed, config.training.seeds))
    tokenizer = load_tokenizer(config.model, data.train.rows["text"])
    max_length, num_workers = config.model.max_length, config.data.num_workers
    how = LongTexts.of(config.data)
    first: list[float] = []
    cached: list[float] = []
    for _ in range(cfg.turns):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["OSTINATO_CACHE"] = folder
            for durations in (first, cached):
                began = time.perf_counter()
                split = tokenise(data.train, tokenizer, max_length, num_workers, how)
                durations.append(time.perf_counter() - began)
    seconds = statistics.median(first)
    num_rows, num_tokens = len(split.lengths), int(split.lengths.sum())
    return {
        "rows": num_rows,
        "tokenise_s": seconds,
        "cached_s": statistics.median(cached),
        "rows_per_s": num_rows / seconds,
        "tokens_per_s": num_tokens / seconds,
    }


def measure_checkpoint(cfg: BenchmarkConfig, config: RunConfig) -> Measurements:
    """Measures the time that training waits for a checkpoint.

    Args:
        cfg: number of steps and turns, and the folder of the checkpoints.
        config: the training config.

    Returns:
        Seconds of a checkpoint and of a step, the steps between two checkpoints, and
        the checkpoints' share of the run.
    """
    prepared = prepare(config)
    step_s = run_steps(prepared, config, cfg.steps)["seconds"] / cfg.steps
    optimizer = build_optimizer(prepared.model, config.training)
    for parameter in prepared.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # fills the optimizer's state, which a checkpoint holds
    parts = CheckpointParts(prepared.model, optimizer)
    stalls = []
    with tempfile.TemporaryDirectory(dir=cfg.folder) as folder:
        run = RunDir(folder)
        for step in range(1, cfg.turns + 1):
            began = time.perf_counter()
            save_checkpoint(run, TrainState(step), parts, keep=1)
            stalls.append(time.perf_counter() - began)
    stall = statistics.median(stalls)
    training = config.training
    steps_per_epoch = len(prepared.train.lengths) / training.batch_size
    every = training.checkpoint_every or training.eval_every or steps_per_epoch
    return {
        "stall_s": stall,
        "step_s": step_s,
        "steps_between": every,
        "share": stall / (every * step_s),
    }


def measure_determinism(cfg: BenchmarkConfig, config: RunConfig) -> Measurements:
    """Measures the speed with strict determinism and with none, in turn.

    Args:
        cfg: number of steps and turns.
        config: the training config.

    Returns:
        Tokens per second of both, and the cost of determinism as a share.
    """
    prepared = prepare(config)
    strict: list[float] = []
    off: list[float] = []
    for _ in range(cfg.turns):
        for level, rates in ((Determinism.strict, strict), (Determinism.off, off)):
            set_determinism(level)
            measured = run_steps(prepared, config, cfg.steps)
            rates.append(measured["tokens_per_s"])
    strict_rate, off_rate = statistics.median(strict), statistics.median(off)
    return {
        "strict_tokens_per_s": strict_rate,
        "off_tokens_per_s": off_rate,
        "cost": off_rate / strict_rate - 1,
    }
