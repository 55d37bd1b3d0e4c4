"""Stops a training whose numbers are NaN or infinite, before they are saved."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.optim import Optimizer

from ostinato.errors import TrainingDiverged
from ostinato.record.fingerprint import StepFingerprint


def check_weights(model: nn.Module, optimizer: Optimizer, step: int) -> None:
    """Checks the weights and the optimizer's moments after an update.

    No loss reflects the last update yet, so the losses alone do not show its effect.

    Args:
        model: the classifier.
        optimizer: its optimizer.
        step: number of the last step, for the message.

    Raises:
        TrainingDiverged: a weight or an optimizer moment is NaN or infinite.
    """
    tensors = list(model.parameters())
    for state in optimizer.state.values():
        tensors += state.values()
    for tensor in tensors:
        if tensor.isfinite().all():
            continue
        rate = max(group["lr"] for group in optimizer.param_groups)
        what = "a weight or an optimizer moment is NaN or infinite after the update"
        raise diverged(what, step, rate)


def diverged(what: str, step: int, lr: float) -> TrainingDiverged:
    """The error for a number that is NaN or infinite.

    Args:
        what: the number and its value.
        step: the optimizer step.
        lr: the learning rate of the step.
    """
    return TrainingDiverged(
        f"{what} at step {step} with learning rate {lr:.3g}; lower training.lr, raise "
        "training.warmup_ratio or use training.precision=fp32; "
        "the last good checkpoint and best/ are kept"
    )


def check_loss_scale(scaler: torch.amp.GradScaler, step: int, lr: float) -> None:
    """Checks the loss scale of fp16.

    Raises:
        TrainingDiverged: the scale is below 1. An overflow at this scale is not caused
            by the scale.
    """
    scale = scaler.get_scale()
    if scale < 1:
        raise diverged(f"fp16's loss scale fell to {scale:.3g}", step, lr)


def check_overflows(steps: Sequence[StepFingerprint]) -> None:
    """Checks that at least one step of a finished training changed the weights.

    Raises:
        TrainingDiverged: fp16's loss scale overflowed at every step.
    """
    if all(step.grad_norm is None for step in steps):
        overflow = "fp16's loss scale overflowed at every step"
        raise TrainingDiverged(f"{overflow}; use training.precision=fp32 or bf16")
