"""Weights of labels in the loss, from the number of training rows or as typed."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ostinato.config import LabelWeighting
from ostinato.errors import ConfigError
from ostinato.redaction import shown


def label_weights(
    key: str,
    choice: LabelWeighting | Mapping[str, float],
    ratios: NDArray[np.float64],
    names: Sequence[str],
) -> Tensor | None:
    """Computes the weight of each label.

    Args:
        key: the config key, for an error.
        choice: its value.
        ratios: the balanced weights, [num_labels].
        names: names of the labels.

    Returns:
        Float32 [num_labels]; None if all are 1.

    Raises:
        ConfigError: a weight for a label that does not exist.
    """
    if choice is LabelWeighting.none:
        return None
    if choice is LabelWeighting.balanced:
        return torch.tensor(ratios, dtype=torch.float32)
    if choice is LabelWeighting.sqrt:
        return torch.tensor(np.sqrt(ratios), dtype=torch.float32)
    unknown = [label for label in choice if label not in names]
    if unknown:
        first = shown(unknown[0])
        known = shown(", ".join(names[:10]))
        raise ConfigError([f"{key}: no label {first}; the labels are {known}"])
    values = [choice.get(name, 1.0) for name in names]
    return torch.tensor(values, dtype=torch.float32)


def class_ratios(
    labels: NDArray[np.generic], names: Sequence[str]
) -> NDArray[np.float64]:
    """Mean number of rows of a class, divided by that of each class, [num_labels].

    The ratios average to 1 over the rows. A count of 0 is taken as 1.

    Args:
        labels: class numbers of the training rows, [num_rows].
        names: names of the classes.
    """
    counts = np.bincount(labels.astype(np.int64), minlength=len(names))
    ratios: NDArray[np.float64] = len(labels) / (len(names) * np.maximum(counts, 1))
    return ratios


def positive_ratios(labels: NDArray[np.generic]) -> NDArray[np.float64]:
    """Negative rows divided by positive rows of each label, [num_labels].

    A count of 0 is taken as 1.

    Args:
        labels: 0 or 1 for the training rows, [num_rows, num_labels].
    """
    positives = labels.sum(axis=0, dtype=np.float64)
    negatives = len(labels) - positives
    ratios: NDArray[np.float64] = np.maximum(negatives, 1) / np.maximum(positives, 1)
    return ratios
