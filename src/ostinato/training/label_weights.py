"""Weights of labels in the loss, from the number of training rows or as typed."""

from collections.abc import Mapping, Sequence
from typing import Any

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
    labels: NDArray[np.generic],
    names: Sequence[str],
    row_weights: NDArray[np.float32] | None = None,
) -> NDArray[np.float64]:
    """Mean number of rows of a class, divided by that of each class, [num_labels].

    The ratios average to 1 over the rows. A count of 0 is taken as 1.

    Args:
        labels: class numbers of the training rows, [num_rows], or the probabilities of
            their classes, [num_rows, num_labels].
        names: names of the classes.
        row_weights: a row counts as this many rows, [num_rows]; None: 1.
    """
    weights = _as_float64(row_weights, len(labels))
    if labels.ndim == 2:
        counts = _weighted_sum(weights, labels)
    else:
        found = np.bincount(labels.astype(np.int64), weights, len(names))
        counts = found.astype(np.float64)
    ratios: NDArray[np.float64] = weights.sum() / (len(names) * _one_if_none(counts))
    return ratios


def positive_ratios(
    labels: NDArray[np.generic], row_weights: NDArray[np.float32] | None = None
) -> NDArray[np.float64]:
    """Negative rows divided by positive rows of each label, [num_labels].

    A count of 0 is taken as 1.

    Args:
        labels: 0 or 1 for the training rows, [num_rows, num_labels].
        row_weights: a row counts as this many rows, [num_rows]; None: 1.
    """
    weights = _as_float64(row_weights, len(labels))
    positives = _weighted_sum(weights, labels)
    negatives = _weighted_sum(weights, labels == 0)
    ratios: NDArray[np.float64] = _one_if_none(negatives) / _one_if_none(positives)
    return ratios


def _as_float64(
    row_weights: NDArray[np.float32] | None, num_rows: int
) -> NDArray[np.float64]:
    if row_weights is None:
        return np.ones(num_rows)
    return row_weights.astype(np.float64)


def _weighted_sum(
    weights: NDArray[np.float64], labels: NDArray[Any]
) -> NDArray[np.float64]:
    """Sums over the rows of [num_rows, num_labels] without a copy in float64."""
    sums: NDArray[np.float64] = np.einsum("n,nc->c", weights, labels)
    return sums


def _one_if_none(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(counts > 0, counts, 1.0)
