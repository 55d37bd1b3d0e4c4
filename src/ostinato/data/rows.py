"""The rows of a split: texts in a memory-mapped file, labels and digests in memory."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

TEXT_NORMALISATION = (
    "surrounding white space removed, inner white space collapsed to one space, "
    "case-sensitive"
)


@dataclass(frozen=True)
class Rows:
    """Rows of a split; all arrays are in row order.

    Attributes:
        name: train, val or test.
        table: columns "text" and "text_pair" (pairs only).
        labels: names of the classes; empty for regression.
        targets: the label of each row: int64 [num_rows], float32 [num_rows, num_labels]
            (multi-label), or float32 [num_rows] (regression). With distributions, the
            most probable class; of equally probable ones, the first.
        label_keys: equal for equal labels: the number of the label combination, or the
            value (regression), [num_rows].
        text_keys: 64-bit hash of the normalised text, [num_rows].
        empty: whether a row has no text, [num_rows].
        digests: SHA-256 of each row without its weight, [num_rows, 32].
        weights: the weight of each row in the loss, float32 [num_rows]; None: 1.
        distributions: the probability of each class, float32 [num_rows, num_labels];
            None if a row has one label.
    """

    name: str
    table: Dataset
    labels: tuple[str, ...]
    targets: NDArray[Any]
    label_keys: NDArray[Any]
    text_keys: NDArray[np.uint64]
    empty: NDArray[np.bool_]
    digests: NDArray[np.uint8]
    weights: NDArray[np.float32] | None = None
    distributions: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.text_keys)

    def select(self, name: str, indices: NDArray[np.int64]) -> "Rows":
        """Selects rows, in the given order, as another split; texts are not copied."""
        weights, distributions = self.weights, self.distributions
        return replace(
            self,
            name=name,
            table=self.table.select(indices),
            targets=self.targets[indices],
            label_keys=self.label_keys[indices],
            text_keys=self.text_keys[indices],
            empty=self.empty[indices],
            digests=self.digests[indices],
            weights=None if weights is None else weights[indices],
            distributions=None if distributions is None else distributions[indices],
        )

    @property
    def sha256(self) -> str:
        """SHA-256 of the texts, label names and weights, row by row."""
        digest = hashlib.sha256(self.digests.tobytes())
        if self.weights is not None:
            digest.update(self.weights.tobytes())
        return digest.hexdigest()
