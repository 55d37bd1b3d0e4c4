"""One optimizer step over its micro-batches, without epochs, files or trackers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ostinato.config import Precision
from ostinato.data.collate import Batch
from ostinato.model.device import Compute
from ostinato.model.window_pooling import row_logits
from ostinato.training.gradient_sum import GradientSum
from ostinato.training.loss import Loss
from ostinato.training.optim import clip_gradients


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """The micro-batches of one optimizer step, over all processes.

    Attributes:
        count: number of micro-batches.
        batch: makes a micro-batch, by its number from 0.
        weight: divides the sum of the rows' losses; see `Loss.weight`.
        num_rows: rows of the step.
        num_tokens: real tokens of the step.
    """

    count: int
    batch: Callable[[int], Batch]
    weight: float
    num_rows: int
    num_tokens: int

    @classmethod
    def of(cls, batches: Sequence[Batch], loss: Loss) -> "StepPlan":
        """The plan of batches that exist already."""
        return cls(
            count=len(batches),
            batch=lambda number: batches[number],
            weight=sum(loss.weight(batch.labels, batch.weights) for batch in batches),
            num_rows=sum(batch.num_rows for batch in batches),
            num_tokens=sum(batch.num_tokens for batch in batches),
        )


@dataclass(frozen=True, kw_only=True)
class Learner:
    """A model and what updates it.

    Attributes:
        model: the classifier, in training mode.
        loss: the loss of the run.
        optimizer: with its learning rates already set.
        scaler: gradient scaler; disabled unless the precision is fp16.
        compute: device and precision.
        max_grad_norm: clip to this L2 norm; None never clips.
        gradients: adds the gradients of micro-batches.
    """

    model: nn.Module
    loss: Loss
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    compute: Compute
    max_grad_norm: float | None
    gradients: GradientSum


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a step reports.

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
    learner: Learner, plan: StepPlan, seed_dropout: Callable[[int], None]
) -> StepResult:
    """Computes gradients over all micro-batches and updates the weights once.

    The loss sum of each micro-batch is divided by the weight of the whole step, so that
    unequal micro-batches stay unbiased. Dropout is seeded before each micro-batch, so
    that earlier random numbers cannot change a result. With several processes, each
    one computes some of the micro-batches and updates its copy of the weights.

    Args:
        learner: the model and what updates it.
        plan: the micro-batches of all processes.
        seed_dropout: called with the number of each micro-batch before its forward
            pass.
    """
    scaler, gradients = learner.scaler, learner.gradients
    parts = []
    for number in gradients.begin(plan.count):
        batch = plan.batch(number)
        seed_dropout(number)
        total = batch_loss(learner.model, learner.loss, batch, learner.compute)
        part = total / plan.weight
        gradients.backward(scaler.scale(part))
        parts.append(part.detach())
    loss = gradients.complete(parts)

    scaler.unscale_(learner.optimizer)
    grad_norm = clip_gradients(learner.model, learner.max_grad_norm)
    scaler.step(learner.optimizer)
    scaler.update()
    learner.optimizer.zero_grad(set_to_none=True)

    return StepResult(
        loss=loss,
        grad_norm=grad_norm.detach(),
        num_rows=plan.num_rows,
        num_tokens=plan.num_tokens,
    )


def gradient_scaler(compute: Compute) -> torch.amp.GradScaler:
    """Makes the loss scale of fp16; it is disabled in other precisions."""
    is_fp16 = compute.precision is Precision.fp16
    scaler = torch.amp.GradScaler(compute.device.type, enabled=is_fp16)
    # It makes its scale at the first call. A process without a micro-batch in its first
    # step needs the scale, too.
    scaler.scale(torch.zeros((), device=compute.device))
    return scaler


def batch_loss(model: nn.Module, loss: Loss, batch: Batch, compute: Compute) -> Tensor:
    """Runs a forward pass.

    Returns:
        Weighted sum of the losses of the batch's rows, scalar on the device.
    """
    on_device = batch.to(compute.device)
    with compute.autocast():
        logits = row_logits(model, on_device.inputs)
    return loss.total(logits, on_device.labels, on_device.weights)
