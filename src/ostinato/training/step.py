"""One optimizer step over its micro-batches. Knows nothing of epochs, files or trackers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from ostinato.data.collate import Batch
from ostinato.model.device import Compute
from ostinato.training.loss import Loss
from ostinato.training.optim import clip_gradients


@dataclass(frozen=True)
class StepResult:
    """What a step leaves to be recorded.

    Attributes:
        loss: mean loss of the step's rows before the update, scalar on the device.
        grad_norm: L2 norm of the gradient before clipping, scalar on the device.
        num_rows: rows of the step.
        num_tokens: real tokens of the step.
    """

    loss: Tensor
    grad_norm: Tensor
    num_rows: int
    num_tokens: int


def train_step(
    model: nn.Module,
    optimizer: AdamW,
    loss: Loss,
    batches: Sequence[Batch],
    compute: Compute,
    max_grad_norm: float | None,
    scaler: torch.amp.GradScaler,
    seed_dropout: Callable[[int], None],
) -> StepResult:
    """Computes gradients over all micro-batches and updates the weights once.

    Each micro-batch's loss sum is divided by the weight of the whole step, so that unequal micro-batches stay
    unbiased. What dropout draws from is seeded before each of them: nothing drawn before can move a result.

    Args:
        model: the classifier, in training mode.
        optimizer: with its learning rates already set.
        loss: the loss of the run.
        batches: the micro-batches.
        compute: device and precision.
        max_grad_norm: clip to this L2 norm; None never clips.
        scaler: gradient scaler; disabled unless fp16.
        seed_dropout: called with the number of each micro-batch before its forward pass.
    """
    weight = sum(loss.weight(batch.labels) for batch in batches)
    total = torch.zeros((), device=compute.device)
    for number, batch in enumerate(batches):
        seed_dropout(number)
        part = batch_loss(model, loss, batch, compute) / weight
        scaler.scale(part).backward()  # type: ignore[no-untyped-call]
        total += part.detach()
    scaler.unscale_(optimizer)
    grad_norm = clip_gradients(model, max_grad_norm)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    return StepResult(
        total,
        grad_norm.detach(),
        sum(b.num_rows for b in batches),
        sum(b.num_tokens for b in batches),
    )


def batch_loss(model: nn.Module, loss: Loss, batch: Batch, compute: Compute) -> Tensor:
    """Sum of the losses of a batch's rows: a forward pass, a scalar on the device."""
    on_device = batch.to(compute.device)
    with compute.autocast():
        logits = model(**on_device.inputs).logits
    return loss.total(logits, on_device.labels)
