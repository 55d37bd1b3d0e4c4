"""The loss as a sum and the weight that divides it.

The losses of micro-batches therefore add up to the mean over all rows.
"""

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
        class_weights: weight per class, [num_labels] (single_label); None: equal.
    """

    task: Task
    label_smoothing: float = 0.0
    class_weights: Tensor | None = None

    def total(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Sum of the rows' losses, in fp32, as a scalar tensor.

        Args:
            logits: [num_rows, num_labels].
            labels: int64 [num_rows], float32 [num_rows, num_labels] or float32
                [num_rows], by task.
        """
        logits = logits.float()
        if self.task is Task.single_label:
            return self._cross_entropy(logits, labels)
        if self.task is Task.multi_label:
            total = F.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
            return total / logits.shape[1]
        return F.mse_loss(logits.squeeze(-1), labels, reduction="sum")

    def weight(self, labels: Tensor) -> float:
        """The divisor that turns the sum into the mean.

        Returns:
            The number of rows, or the sum of their class weights.
        """
        if self.class_weights is None:
            return float(len(labels))
        return float(self.class_weights[labels].sum())

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        weights = self.class_weights
        if weights is not None:
            weights = weights.to(logits.device, non_blocking=True)
        return F.cross_entropy(
            logits,
            labels,
            weights,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )


def build_loss(
    task: Task,
    cfg: TrainingConfig,
    train_labels: NDArray[np.generic],
    names: Sequence[str],
) -> Loss:
    """Makes the loss of a run.

    Args:
        task: chooses the formula.
        cfg: label smoothing and class weights.
        train_labels: [num_rows]; balanced class weights come from them, and average to
            1 over the rows.
        names: the names of the classes.
    """
    if task is not Task.single_label:
        return Loss(task)
    weights = None
    if cfg.class_weights is ClassWeights.balanced:
        weights = _balanced_weights(train_labels, len(names))
    return Loss(task, cfg.label_smoothing, weights)


def _balanced_weights(labels: NDArray[np.generic], num_labels: int) -> Tensor:
    counts = np.bincount(labels.astype(np.int64), minlength=num_labels)
    weights = len(labels) / (num_labels * np.maximum(counts, 1))
    return torch.tensor(weights, dtype=torch.float32)
