"""Weights of labels in the loss, from the number of training rows or as typed."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ostinato.config import LabelWeighting
from ostinato.errors import ConfigError
from ostinato.redaction import shown

Weights = LabelWeighting | Mapping[str, float]


def class_weights(
    choice: Weights, labels: NDArray[np.generic], names: Sequence[str]
) -> Tensor | None:
    """Computes the weight of each class.

    Args:
        choice: `training.class_weights`.
        labels: class numbers of the training rows, [num_rows].
        names: names of the classes.

    Returns:
        Float32 [num_labels]; None if all are equal. Balanced weights average to 1 over
        the rows.

    Raises:
        ConfigError: a weight for a class that does not exist.
    """
    if isinstance(choice, Mapping):
        return _typed("training.class_weights", choice, names)
    if choice is LabelWeighting.none:
        return None
    counts = np.bincount(labels.astype(np.int64), minlength=len(names))
    ratios = len(labels) / (len(names) * np.maximum(counts, 1))
    return _chosen(choice, ratios)


def pos_weight(
    choice: Weights, labels: NDArray[np.generic], names: Sequence[str]
) -> Tensor | None:
    """Computes the weight of the positive rows of each label.

    A count of 0 is taken as 1.

    Args:
        choice: `training.pos_weight`.
        labels: 0 or 1 for the training rows, [num_rows, num_labels].
        names: names of the labels.

    Returns:
        Float32 [num_labels]; None if all are 1.

    Raises:
        ConfigError: a weight for a label that does not exist.
    """
    if isinstance(choice, Mapping):
        return _typed("training.pos_weight", choice, names)
    if choice is LabelWeighting.none:
        return None
    positives = labels.sum(axis=0, dtype=np.float64)
    negatives = len(labels) - positives
    ratios = np.maximum(negatives, 1) / np.maximum(positives, 1)
    return _chosen(choice, ratios)


def _chosen(choice: LabelWeighting, ratios: NDArray[np.float64]) -> Tensor:
    if choice is LabelWeighting.sqrt:
        ratios = np.sqrt(ratios)
    return torch.tensor(ratios, dtype=torch.float32)


def _typed(key: str, weights: Mapping[str, float], names: Sequence[str]) -> Tensor:
    unknown = [label for label in weights if label not in names]
    if unknown:
        first = shown(unknown[0])
        known = shown(", ".join(names[:10]))
        raise ConfigError([f"{key}: no label {first}; the labels are {known}"])
    values = [weights.get(name, 1.0) for name in names]
    return torch.tensor(values, dtype=torch.float32)
