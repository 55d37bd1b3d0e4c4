"""Speed of the training step in this process: the product's own loop, a bare loop beside it, the machine's ceiling."""

import json
import tempfile
import time
from dataclasses import replace
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ostinato.config import JsonlConfig, RunConfig, TrackerConfig
from ostinato.data.batching import plan_epoch
from ostinato.data.collate import Batch
from ostinato.interruption import Stop
from ostinato.progress import progress_bar
from ostinato.run_dir import RunDir
from ostinato.scoring.evaluation import Scorer
from ostinato.trackers import build
from ostinato.training.loop import Training
from ostinato.training.optim import build_optimizer, clip_gradients, set_lr
from ostinato.training.prepare import Prepared

Measurements = dict[str, Any]


def run_steps(prepared: Prepared, config: RunConfig, steps: int) -> Measurements:
    """The product's own loop over the first steps, with everything that it records: seconds, rows and tokens."""
    quiet = replace(
        config.training, log_every=10**9, eval_every=10**9, checkpoint_every=10**9
    )
    with tempfile.TemporaryDirectory() as folder, progress_bar() as bar:
        run = RunDir(folder)
        scorer = Scorer(
            prepared.data.task,
            prepared.data.labels,
            prepared.collator,
            1,
            prepared.compute,
            bar,
        )
        training = Training(
            replace(config, training=quiet), run, prepared, scorer, Stop()
        )
        trackers = build(TrackerConfig(jsonl=JsonlConfig()), run)
        trackers.start({}, {})
        training.run(trackers, steps)
        trackers.finish("finished", {})
        lines = [
            json.loads(line)
            for line in run.metrics.read_text(encoding="utf-8").splitlines()
        ]
    values = {line["name"].removeprefix("train/"): line["value"] for line in lines}
    tokens = sum(batch.num_tokens for batch in first_batches(prepared, config, steps))
    return {name: values[name] for name in ("rows_per_s", "tokens_per_s")} | {
        "seconds": tokens / values["tokens_per_s"]
    }


def bare_loop(prepared: Prepared, config: RunConfig, steps: int) -> float:
    """Tokens per second of the same model over the same batches, already made, and nothing else."""
    batches = first_batches(prepared, config, steps)
    optimizer = build_optimizer(prepared.model, config.training)
    set_lr(optimizer, 1.0)
    prepared.model.train()
    began = time.perf_counter()
    for number, batch in enumerate(batches):
        prepared.masks.seed(number)
        on_device = batch.to(prepared.compute.device)
        with prepared.compute.autocast():
            logits = prepared.model(**on_device.inputs).logits
        (prepared.loss.total(logits, on_device.labels) / batch.num_rows).backward()  # type: ignore[no-untyped-call]
        clip_gradients(prepared.model, config.training.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    synchronise(prepared)
    return sum(batch.num_tokens for batch in batches) / (time.perf_counter() - began)


def first_batches(prepared: Prepared, config: RunConfig, steps: int) -> list[Batch]:
    """Batches of a run's first steps."""
    training = config.training
    seed = prepared.seeds.derive("order", 0)
    split, rows = prepared.train, training.batch_size
    plan = plan_epoch(
        split.lengths, rows, seed, prepared.batching, training.tokens_per_batch
    )
    return [prepared.collator.batch(split, indices) for indices in plan[:steps]]


def count_flops(prepared: Prepared, config: RunConfig, steps: int) -> int:
    """Floating-point operations of the matrix products of a run's first steps, rows not filled up."""
    unfilled = replace(prepared, collator=replace(prepared.collator, multiple=1))
    with (
        torch.compiler.set_stance("force_eager"),
        FlopCounterMode(display=False) as counter,
    ):
        bare_loop(unfilled, config, steps)
    return int(counter.get_total_flops())


def ceiling(prepared: Prepared) -> float:
    """GFLOP/s of large products in the run's precision and device: the best of many."""
    device = prepared.compute.device
    size = 8192 if device.type == "cuda" else 2048
    left, right = (
        torch.rand(size, size, device=device),
        torch.rand(size, size, device=device),
    )
    best = 0.0
    with prepared.compute.autocast(), torch.no_grad():
        half = (
            torch.get_autocast_dtype(device.type)
            if torch.is_autocast_enabled(device.type)
            else torch.float32
        )
        left, right = left.to(half), right.to(half)
        for _ in range(20):
            began = time.perf_counter()
            left @ right
            synchronise(prepared)
            best = max(best, 2 * size**3 / (time.perf_counter() - began) / 1e9)
    return best


def synchronise(prepared: Prepared) -> None:
    """Waits for a GPU's work."""
    if prepared.compute.device.type == "cuda":
        torch.cuda.synchronize()
