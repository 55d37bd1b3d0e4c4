"""`torch.compile` for the training step: kernels of fixed shapes, replayed as CUDA graphs on a GPU.

A kernel follows from its shapes alone, not from what ran before it: a run that goes on after a kill computes the same.
"""

import os
import shutil
from dataclasses import replace

import torch
from transformers import PreTrainedModel

from ostinato.collate import Collator
from ostinato.config import TrainingConfig
from ostinato.errors import ConfigError

MULTIPLE = 512
"""Packed rows are filled up to a multiple of so many tokens: few shapes, and on average half of this is wasted."""


def compile_training(model: PreTrainedModel, collator: Collator, cfg: TrainingConfig) -> Collator:
    """Compiles the model in place; each shape is compiled when it is first met.

    Returns:
        What makes batches of few shapes.

    Raises:
        ConfigError: batches are padded, so that their shapes are many, or this machine has no compiler.
    """
    if not collator.packed:
        raise ConfigError(["training.compile=true: takes packed batches only; these are padded; take false"])
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise ConfigError(
            [f"training.compile=true: torch needs a C++ compiler, and there is no {compiler}; take false"]
        )
    torch._dynamo.config.recompile_limit = 1024  # per layer; beyond it torch would go on without compiling
    torch._dynamo.config.skip_nnmodule_hook_guards = False  # one layer's hooks are not another's
    # A graph's memory is written anew by its next replay, so gradients cannot stay there over micro-batches.
    graphs = model.device.type == "cuda" and cfg.accumulate == 1
    model.compile(dynamic=False, options={"deterministic": True, "triton.cudagraphs": graphs})
    return replace(collator, multiple=MULTIPLE)
