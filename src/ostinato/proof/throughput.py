"""The speed of training steps in this process.

Measures the program's own loop, a bare loop, and the machine's matrix products.
"""

import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ostinato.config import JsonlConfig, RunConfig, TrackerConfig
from ostinato.data.batching import plan_epoch
from ostinato.data.collate import Batch
from ostinato.interruption import Stop
from ostinato.model.window_pooling import row_logits
from ostinato.progress import progress_bar
from ostinato.run_dir import RunDir
from ostinato.trackers import build
from ostinato.training.loop import Training
from ostinato.training.optim import build_optimizer, clip_gradients, set_lr
from ostinato.training.prepare import Prepared
from ostinato.training.roles import Leader

Measurements = dict[str, Any]

_NEVER = 10**9
_REPETITIONS = 20


def run_steps(prepared: Prepared, config: RunConfig, steps: int) -> Measurements:
    """Runs the program's own loop with everything that it records.

    Args:
        prepared: the model and the data.
        config: the training config.
        steps: number of optimizer steps.

    Returns:
        Rows and tokens per second, and seconds.
    """
    only_train = replace(
        config.training, log_every=_NEVER, eval_every=_NEVER, checkpoint_every=_NEVER
    )
    config = replace(config, training=only_train)
    with tempfile.TemporaryDirectory() as folder, progress_bar() as bar:
        run = RunDir(folder)
        scorer = prepared.scorer(1, bar)
        stop = Stop()
        training = Training(config, run, prepared, scorer, stop, Leader(None, stop))
        trackers = build(TrackerConfig(jsonl=JsonlConfig()), run)
        trackers.start({}, {})
        training.run(trackers, steps)
        trackers.finish("finished", {})
        logged = _last_values(run.metrics)
    tokens_per_s = logged["train/tokens_per_s"]
    batches = first_batches(prepared, config, steps)
    num_tokens = sum(batch.num_tokens for batch in batches)
    return {
        "rows_per_s": logged["train/rows_per_s"],
        "tokens_per_s": tokens_per_s,
        "seconds": num_tokens / tokens_per_s,
    }


def _last_values(path: Path) -> dict[str, float]:
    """The last value of each metric in a `metrics.jsonl`."""
    values = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        values[entry["name"]] = entry["value"]
    return values


def bare_loop(prepared: Prepared, config: RunConfig, steps: int) -> float:
    """Trains the same model on the same ready-made batches, and does nothing else.

    Args:
        prepared: the model and the data.
        config: the training config.
        steps: number of optimizer steps.

    Returns:
        Tokens per second.
    """
    batches = first_batches(prepared, config, steps)
    optimizer = build_optimizer(prepared.model, config.training)
    set_lr(optimizer, 1.0)
    prepared.model.train()
    began = time.perf_counter()
    for number, batch in enumerate(batches):
        prepared.masks.seed(number)
        on_device = batch.to(prepared.compute.device)
        with prepared.compute.autocast():
            logits = row_logits(prepared.model, on_device.inputs)
        loss = prepared.loss.total(logits, on_device.labels) / batch.num_rows
        loss.backward()  # type: ignore[no-untyped-call]
        clip_gradients(prepared.model, config.training.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    synchronise(prepared)
    seconds = time.perf_counter() - began
    return sum(batch.num_tokens for batch in batches) / seconds


def first_batches(prepared: Prepared, config: RunConfig, steps: int) -> list[Batch]:
    """Makes the batches of a run's first steps."""
    training = config.training
    seed = prepared.seeds.derive("order", 0)
    plan = plan_epoch(
        prepared.train.lengths,
        training.batch_size,
        seed,
        prepared.batching,
        training.tokens_per_batch,
    )
    return [prepared.collator.batch(prepared.train, rows) for rows in plan[:steps]]


def count_flops(prepared: Prepared, config: RunConfig, steps: int) -> int:
    """Counts the floating-point operations of the matrix products of the first steps.

    Rows are not padded to a multiple for this count.
    """
    unpadded = replace(prepared, collator=replace(prepared.collator, multiple=1))
    counter = FlopCounterMode(display=False)
    with torch.compiler.set_stance("force_eager"), counter:
        bare_loop(unpadded, config, steps)
    return int(counter.get_total_flops())


def matmul_ceiling(prepared: Prepared) -> float:
    """Measures large matrix products on the run's device, in its precision.

    Returns:
        GFLOP/s of the fastest product.
    """
    device = prepared.compute.device
    size = 8192 if device.type == "cuda" else 2048
    operations = 2 * size**3
    left = torch.rand(size, size, device=device)
    right = torch.rand(size, size, device=device)
    best = 0.0
    with prepared.compute.autocast(), torch.no_grad():
        precision = torch.float32
        if torch.is_autocast_enabled(device.type):
            precision = torch.get_autocast_dtype(device.type)
        left, right = left.to(precision), right.to(precision)
        for _ in range(_REPETITIONS):
            began = time.perf_counter()
            left @ right
            synchronise(prepared)
            seconds = time.perf_counter() - began
            best = max(best, operations / seconds / 1e9)
    return best


def synchronise(prepared: Prepared) -> None:
    """Waits until the GPU has finished its work."""
    if prepared.compute.device.type == "cuda":
        torch.cuda.synchronize()
