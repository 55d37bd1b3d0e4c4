"""`torch.compile` for the training step, and CUDA graphs on a GPU, without a result that depends on what ran before.

Kernels are made for any sizes, but chosen by those that they meet first, and a run that goes on after a kill would
meet others. So every start compiles on the run's first batch, and what this does not fit (a batch of one row, say)
runs plainly.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from transformers import PreTrainedModel

from ostinato.collate import Batch, Collator
from ostinato.config import TrainingConfig
from ostinato.device import Compute
from ostinato.errors import ConfigError
from ostinato.loss import Loss

_MULTIPLE = 256  # tokens; a CUDA graph is recorded for each size, so there should be few


def compile_training(model: PreTrainedModel, collator: Collator, cfg: TrainingConfig) -> Collator:
    """Has the model compiled, in place, at its next call.

    Returns:
        What makes batches of few sizes where each costs a CUDA graph.

    Raises:
        ConfigError: this machine has no compiler.
    """
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise ConfigError(
            [f"training.compile=true: torch needs a C++ compiler, and there is no {compiler}; take false"]
        )
    torch._dynamo.config.skip_nnmodule_hook_guards = False  # one layer's hooks are not another's
    # A graph's memory is written anew by its next replay, so gradients cannot stay there over micro-batches.
    graphs = model.device.type == "cuda" and collator.packed and cfg.accumulate == 1
    model.compile(dynamic=True, options={"deterministic": True, "triton.cudagraphs": graphs})
    return replace(collator, multiple=_MULTIPLE if graphs else 1)


@contextmanager
def compiled(model: PreTrainedModel, loss: Loss, first: Batch, compute: Compute) -> Iterator[None]:
    """Compiles forwards and backwards on the run's first batch; within, what does not fit runs plainly."""
    batch = first.to(compute.device)
    with compute.autocast():
        logits = model(**batch.inputs).logits
    loss.total(logits, batch.labels).backward()  # type: ignore[no-untyped-call]
    model.zero_grad(set_to_none=True)
    with torch.compiler.set_stance("eager_on_recompile"):
        yield
