"""`torch.compile` for the training step, and CUDA graphs on a GPU.

Compilation must not make the result depend on what ran before. torch compiles kernels
for any sizes, but chooses them by the first sizes that it sees, and a resumed run would
see others. So every start compiles on the run's first batch. A batch that does not fit
these kernels (for example a batch of one row) runs uncompiled.
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

# In tokens. torch records a CUDA graph for each number of tokens and rows, so the
# numbers of tokens are rounded up: there should be few graphs.
_MULTIPLE = 256


def has_compiler() -> bool:
    """Whether this machine has what torch compiles with."""
    headers = Path(sysconfig.get_path("include"), "Python.h")
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    return headers.is_file() and compiler is not None


def compile_training(
    model: PreTrainedModel, collator: Collator, cfg: TrainingConfig, compute: Compute
) -> Collator:
    """Makes the model compile, in place, at its next call.

    Returns:
        A collator for the compiled model. With CUDA graphs, it makes batches of few
        sizes.

    Raises:
        ConfigError: this machine cannot compile.
    """
    if not has_compiler():
        needs = "torch needs a C++ compiler (CXX, else g++) and Python's headers"
        remedy = "install them, or use training.compile=false"
        raise ConfigError([f"training.compile=true: {needs}; {remedy}"])

    # Layers have different hooks, so guards must check them.
    torch._dynamo.config.skip_nnmodule_hook_guards = False
    # Sizes that are equal in the first batch can differ in later ones.
    torch.fx.experimental._config.use_duck_shape = False

    has_graphs = _can_use_graphs(collator, cfg, compute)
    options = {
        # Chooses no kernel by measured time.
        "deterministic": True,
        # Holds for large batches only, or for small batches only.
        "triton.mix_order_reduction": False,
        "triton.cudagraphs": has_graphs,
        "triton.cudagraph_dynamic_shape_warn_limit": None,
    }
    model.compile(dynamic=True, options=options)
    return replace(collator, multiple=_MULTIPLE if has_graphs else 1)


def _can_use_graphs(collator: Collator, cfg: TrainingConfig, compute: Compute) -> bool:
    """Whether CUDA graphs can record the training step."""
    # The next replay of a graph overwrites its memory, so gradients would not survive
    # until the next micro-batch.
    is_whole = cfg.accumulate == 1
    # A budget of tokens varies the number of rows.
    has_fixed_rows = cfg.tokens_per_batch is None
    # In fp32, attention splits the graph at every layer.
    is_half = compute.precision is not Precision.fp32
    is_gpu = compute.device.type == "cuda"
    return is_gpu and is_half and collator.packed and is_whole and has_fixed_rows


@contextmanager
def compiled(
    model: PreTrainedModel, loss: Loss, first: Sequence[Batch], compute: Compute
) -> Iterator[None]:
    """Compiles forward and backward passes on the first batch of a run.

    Inside the context, batches that do not fit the compiled kernels run uncompiled.

    Args:
        model: after `compile_training`, in training mode.
        loss: the loss of the run.
        first: the run's first batches; a warning is logged if the second does not fit.
        compute: device and precision.
    """
    torch.compiler.config.cache_key_tag = _cache_key(first[0])
    batch_loss(model, loss, first[0], compute).backward()  # type: ignore[no-untyped-call]
    model.zero_grad(set_to_none=True)
    for other in first[1:2]:
        _warn_if_uncompiled(model, loss, other, compute)
    with torch.compiler.set_stance("eager_on_recompile"):
        yield


def _cache_key(batch: Batch) -> str:
    """The sizes that torch chooses kernels by.

    torch's cache knows a size only by its name. Without this key it would return
    kernels that were chosen for another first batch.
    """
    tensors = [value for value in batch.inputs.values() if isinstance(value, Tensor)]
    sizes = [list(tensor.shape) for tensor in tensors]
    return f"{sizes} {batch.num_rows}"


def _warn_if_uncompiled(
    model: PreTrainedModel, loss: Loss, batch: Batch, compute: Compute
) -> None:
    try:
        with torch.compiler.set_stance("fail_on_recompile"):
            batch_loss(model, loss, batch, compute)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        log.warning(
            "training.compile=true: batches that differ from the first one "
            "run uncompiled (%s)",
            reason,
        )
