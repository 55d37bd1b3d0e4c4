"""`torch.compile` for the training step, and CUDA graphs on a GPU, without a result that depends on what ran before.

Kernels are made for any sizes, but chosen by those that they meet first, and a run that goes on after a kill would
meet others. So every start compiles on the run's first batch, and what this does not fit (a batch of one row, say)
runs plainly.
"""

import logging
import os
import shutil
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ostinato.config import Precision, TrainingConfig
from ostinato.data.collate import Batch, Collator
from ostinato.errors import ConfigError
from ostinato.model.device import Compute
from ostinato.training.loss import Loss
from ostinato.training.step import batch_loss

log = logging.getLogger(__name__)

_MULTIPLE = 256  # tokens; a CUDA graph is recorded for each number of tokens and rows, so there should be few


def has_compiler() -> bool:
    """Whether this machine has what torch compiles with."""
    headers = Path(sysconfig.get_path("include"), "Python.h")
    return headers.is_file() and shutil.which(os.environ.get("CXX", "g++")) is not None


def compile_training(
    model: PreTrainedModel, collator: Collator, cfg: TrainingConfig, compute: Compute
) -> Collator:
    """Has the model compiled, in place, at its next call.

    Returns:
        What makes batches of few sizes where each costs a CUDA graph.

    Raises:
        ConfigError: this machine cannot compile.
    """
    if not has_compiler():
        needs = "a C++ compiler (CXX, else g++) and Python's headers"
        raise ConfigError(
            [f"training.compile=true: torch needs {needs}; install them, or take false"]
        )
    torch._dynamo.config.skip_nnmodule_hook_guards = (
        False  # one layer's hooks are not another's
    )
    torch.fx.experimental._config.use_duck_shape = (
        False  # sizes that are equal in the first batch need not stay so
    )
    # A graph's memory is written anew by its next replay, so gradients cannot stay there over micro-batches; a budget
    # of tokens varies the rows; in fp32 attention parts the graph at every layer.
    half = compute.device.type == "cuda" and compute.precision is not Precision.fp32
    graphs = (
        half
        and collator.packed
        and cfg.accumulate == 1
        and cfg.tokens_per_batch is None
    )
    options = {
        "deterministic": True,  # chooses no kernel by a stopwatch
        "triton.mix_order_reduction": False,  # holds for large batches only, or for small ones only
        "triton.cudagraphs": graphs,
        "triton.cudagraph_dynamic_shape_warn_limit": None,
    }
    model.compile(dynamic=True, options=options)
    return replace(collator, multiple=_MULTIPLE if graphs else 1)


@contextmanager
def compiled(
    model: PreTrainedModel, loss: Loss, first: Sequence[Batch], compute: Compute
) -> Iterator[None]:
    """Compiles forwards and backwards on the first of a run's batches; within, what does not fit runs plainly.

    Args:
        model: after `compile_training`, in training mode.
        loss: the loss of the run.
        first: the run's first batches; where the second does not fit, a warning says why.
        compute: device and precision.
    """
    sizes = [
        list(tensor.shape)
        for tensor in first[0].inputs.values()
        if isinstance(tensor, Tensor)
    ]
    # torch's cache knows a size by its name, and would return kernels that were chosen for another first batch.
    torch.compiler.config.cache_key_tag = f"{sizes} {first[0].num_rows}"
    batch_loss(model, loss, first[0], compute).backward()  # type: ignore[no-untyped-call]
    model.zero_grad(set_to_none=True)
    for other in first[1:2]:
        try:
            with torch.compiler.set_stance("fail_on_recompile"):
                batch_loss(model, loss, other, compute)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].strip()
            log.warning(
                "training.compile=true: batches that differ from the first run uncompiled (%s)",
                reason,
            )
    with torch.compiler.set_stance("eager_on_recompile"):
        yield
