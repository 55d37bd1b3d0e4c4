"""The loss as a sum and the weight that divides it, so that micro-batches add up to the mean over all rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ostinato.config import ClassWeights, Task, TrainingConfig


@dataclass(frozen=True)
class Loss:
    """Cross-entropy, binary cross-entropy averaged over labels, or squared error.

    Attributes:
        task: chooses the formula.
        label_smoothing: mass spread over all classes (single_label).
        class_weights: weight per class, [num_labels] (single_label), or None for equal ones.
    """

    task: Task
    label_smoothing: float = 0.0
    class_weights: Tensor | None = None

    def total(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Sum of the rows' losses, in fp32, as a scalar tensor.

        Args:
            logits: [num_rows, num_labels].
            labels: int64 [num_rows], float32 [num_rows, num_labels] or float32 [num_rows], by task.
        """
        logits = logits.float()
        if self.task is Task.single_label:
            weights = (
                None
                if self.class_weights is None
                else self.class_weights.to(logits.device, non_blocking=True)
            )
            return F.cross_entropy(
                logits,
                labels,
                weights,
                reduction="sum",
                label_smoothing=self.label_smoothing,
            )
        if self.task is Task.multi_label:
            return (
                F.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
                / logits.shape[1]
            )
        return F.mse_loss(logits.squeeze(-1), labels, reduction="sum")

    def weight(self, labels: Tensor) -> float:
        """What the sum is divided by for the mean: the number of rows, or their class weights' sum."""
        if self.class_weights is None:
            return float(len(labels))
        return float(self.class_weights[labels].sum())


def build_loss(
    task: Task,
    cfg: TrainingConfig,
    train_labels: NDArray[np.generic],
    names: Sequence[str],
) -> Loss:
    """Makes the loss of a run; balanced class weights come from the training labels and average to 1 over rows."""
    if task is not Task.single_label:
        return Loss(task)
    weights = None
    if cfg.class_weights is ClassWeights.balanced:
        counts = np.bincount(train_labels.astype(np.int64), minlength=len(names))
        weights = torch.tensor(
            len(train_labels) / (len(names) * np.maximum(counts, 1)),
            dtype=torch.float32,
        )
    return Loss(task, cfg.label_smoothing, weights)
