"""The loss as a weighted sum and the weight that divides it.

The losses of micro-batches therefore add up to the mean over all rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ostinato.config import LossName, Task, TrainingConfig
from ostinato.errors import ConfigError
from ostinato.training.label_weights import (
    class_ratios,
    label_weights,
    positive_ratios,
)

_CLASSIFICATION = (LossName.cross_entropy, LossName.focal)
_REGRESSION = (LossName.mse, LossName.mae, LossName.huber)


@dataclass(frozen=True)
class Loss:
    """The loss of one task, averaged over rows (and over the labels of multi_label).

    Attributes:
        task: single_label, multi_label or regression.
        name: the formula; auto is cross_entropy or mse.
        label_smoothing: mass spread over all classes (single_label, cross_entropy).
        label_weights: weight per class (single_label) or of the positive rows of each
            label (multi_label), [num_labels]; None: 1.
        focal_gamma: exponent of the focal loss (Lin et al., 2017).
        huber_delta: error from which the Huber loss is linear.
    """

    task: Task
    name: LossName = LossName.auto
    label_smoothing: float = 0.0
    label_weights: Tensor | None = None
    focal_gamma: float = 2.0
    huber_delta: float = 1.0

    def total(
        self, logits: Tensor, labels: Tensor, row_weights: Tensor | None = None
    ) -> Tensor:
        """Sum of the rows' losses, in fp32, as a scalar tensor.

        Args:
            logits: [num_rows, num_labels].
            labels: int64 [num_rows], float32 [num_rows, num_labels] or float32
                [num_rows], by task; single_label also takes probabilities, float32
                [num_rows, num_labels].
            row_weights: the weight of each row, [num_rows]; None: 1.
        """
        logits = logits.float()
        # torch's own sum where it can be used.
        reduction = "sum" if row_weights is None else "none"
        if self.task is Task.single_label:
            losses = self._single_label(logits, labels, reduction)
        elif self.task is Task.multi_label:
            losses = self._multi_label(logits, labels, reduction)
        else:
            losses = self._regression(logits.squeeze(-1), labels, reduction)
        if row_weights is not None:
            per_row = losses.sum(1) if losses.ndim == 2 else losses
            losses = per_row * row_weights
        total = losses.sum()
        return total / logits.shape[1] if self.task is Task.multi_label else total

    def weight(self, labels: Tensor, row_weights: Tensor | None = None) -> float:
        """The divisor that turns the sum into the mean.

        Returns:
            The number of rows or the sum of their weights. In single_label, each row
            counts with its class weight, too; with probabilities, with its mean.
        """
        weights = row_weights
        if self.label_weights is not None and self.task is Task.single_label:
            weights = _of_labels(self.label_weights, labels)
            if row_weights is not None:
                weights = weights * row_weights
        return float(len(labels) if weights is None else weights.sum())

    def _single_label(self, logits: Tensor, labels: Tensor, reduction: str) -> Tensor:
        weights = self._weights_on(logits.device)
        if self.name is not LossName.focal:
            return F.cross_entropy(
                logits,
                labels,
                weights,
                reduction=reduction,
                label_smoothing=self.label_smoothing,
            )
        # Not from F.cross_entropy with weights: the factor needs the plain loss.
        losses = F.cross_entropy(logits, labels, reduction="none")  # [num_rows]
        focal = self._hardness(losses) * losses
        return focal if weights is None else focal * weights[labels]

    def _multi_label(self, logits: Tensor, labels: Tensor, reduction: str) -> Tensor:
        weights = self._weights_on(logits.device)
        if self.name is not LossName.focal:
            return F.binary_cross_entropy_with_logits(
                logits, labels, pos_weight=weights, reduction=reduction
            )
        losses = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        focal = self._hardness(losses) * losses  # [num_rows, num_labels]
        if weights is None:
            return focal
        return focal * torch.where(labels > 0, weights, 1.0)

    def _regression(self, values: Tensor, labels: Tensor, reduction: str) -> Tensor:
        if self.name is LossName.mae:
            return F.l1_loss(values, labels, reduction=reduction)
        if self.name is LossName.huber:
            delta = self.huber_delta
            return F.huber_loss(values, labels, reduction=reduction, delta=delta)
        return F.mse_loss(values, labels, reduction=reduction)

    def _hardness(self, losses: Tensor) -> Tensor:
        """The factor of the focal loss: (1 - p) ** gamma, where loss = -log p."""
        return (-torch.expm1(-losses)) ** self.focal_gamma

    def _weights_on(self, device: torch.device) -> Tensor | None:
        if self.label_weights is None:
            return None
        return self.label_weights.to(device, non_blocking=True)


def _of_labels(weights: Tensor, labels: Tensor) -> Tensor:
    """The class weight of each row; of probabilities, the mean weight."""
    return labels @ weights if labels.ndim == 2 else weights[labels]


def build_loss(
    task: Task,
    cfg: TrainingConfig,
    train_labels: NDArray[np.generic],
    names: Sequence[str],
    row_weights: NDArray[np.float32] | None = None,
) -> Loss:
    """Makes the loss of a run.

    Args:
        task: single_label, multi_label or regression.
        cfg: names the loss and its options.
        train_labels: [num_rows], or [num_rows, num_labels] (multi_label, and
            probabilities).
        names: the names of the classes; empty for regression.
        row_weights: the weights of the training rows, [num_rows]; None: 1.

    Raises:
        ConfigError: an option that the task does not have, or an unknown label.
    """
    problems = _problems(task, cfg)
    if problems:
        raise ConfigError(problems)
    weights = None
    if task is Task.single_label:
        key, choice = "training.class_weights", cfg.class_weights
        ratios = class_ratios(train_labels, names, row_weights)
        weights = label_weights(key, choice, ratios, names)
    if task is Task.multi_label:
        key, choice = "training.pos_weight", cfg.pos_weight
        ratios = positive_ratios(train_labels, row_weights)
        weights = label_weights(key, choice, ratios, names)
    return Loss(
        task, cfg.loss, cfg.label_smoothing, weights, cfg.focal_gamma, cfg.huber_delta
    )


def _problems(task: Task, cfg: TrainingConfig) -> list[str]:
    """Names the options of other tasks, which would have no effect."""
    problems = []
    names = _REGRESSION if task is Task.regression else _CLASSIFICATION
    if cfg.loss not in (LossName.auto, *names):
        remedy = " or ".join(names)
        key = f"training.loss={cfg.loss.value}"
        problems.append(f"{key}: not for data.task={task.value}; use {remedy}")
    only_for = {
        "label_smoothing": Task.single_label,
        "class_weights": Task.single_label,
        "pos_weight": Task.multi_label,
    }
    for key, its_task in only_for.items():
        if _is_set(cfg, key) and task is not its_task:
            problem = f"training.{key}: only for data.task={its_task.value}"
            problems.append(f"{problem}, not {task.value}; omit it")
    only_with = {"focal_gamma": LossName.focal, "huber_delta": LossName.huber}
    for key, its_loss in only_with.items():
        if _is_set(cfg, key) and cfg.loss is not its_loss:
            problem = f"training.{key}: only with training.loss={its_loss.value}"
            problems.append(f"{problem}; omit it")
    if _is_set(cfg, "label_smoothing") and cfg.loss is LossName.focal:
        problem = "training.label_smoothing: not with training.loss=focal"
        problems.append(f"{problem}; omit it")
    return problems


def _is_set(cfg: TrainingConfig, key: str) -> bool:
    """Whether a value differs from its default."""
    default = TrainingConfig.__dataclass_fields__[key].default
    return bool(getattr(cfg, key) != default)
