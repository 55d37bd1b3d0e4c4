"""The token ids and labels of a split."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

from ostinato.config import LongText
from ostinato.data.batching import Indices
from ostinato.data.windows import WINDOW_LENGTHS


@dataclass(frozen=True)
class TokenisedSplit:
    """Token ids of a split, in row order.

    Attributes:
        name: name of the split.
        rows: columns "input_ids" and, if the tokenizer makes them, "token_type_ids";
            without padding. Windows of a row follow one another, and "window_lengths"
            has the tokens of each.
        lengths: tokens per row, of all its windows, int32 [num_rows].
        labels: int64 [num_rows], float32 [num_rows, num_labels] (multi-label), or
            float32 [num_rows] (regression).
        truncated: share of rows that lost text.
        weights: the weight of each row in the loss, float32 [num_rows]; None: 1.
        distributions: the probability of each class, float32 [num_rows, num_labels];
            None if a row has one label.
        windows: windows of each row, int32 [num_rows]; None if rows have no windows.
    """

    name: str
    rows: Dataset
    lengths: NDArray[np.int32]
    labels: NDArray[Any]
    truncated: float
    weights: NDArray[np.float32] | None = None
    distributions: NDArray[np.float32] | None = None
    windows: NDArray[np.int32] | None = None

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the token ids and lengths, column by column.

        It does not depend on the chunks of the Arrow table.
        """
        digest = hashlib.sha256()
        for name in self.rows.column_names:
            column = self.rows.data.column(name)
            header = f"{name} {column.type} {len(column)}"
            digest.update(header.encode())
            _update(digest, pc.list_value_length(column))
            _update(digest, pc.list_flatten(column))
        return digest.hexdigest()

    def targets(self, indices: Indices) -> tuple[Tensor, Tensor | None]:
        """What the loss reads of some rows: their labels, and their weights if any."""
        source = self.labels if self.distributions is None else self.distributions
        labels = torch.from_numpy(source[indices])
        if self.weights is None:
            return labels, None
        return labels, torch.from_numpy(self.weights[indices])

    @property
    def input_lengths(self) -> NDArray[np.int32]:
        """Tokens of each model input: of each window, or else of each row."""
        if self.windows is None:
            return self.lengths
        column = self.rows.data.column(WINDOW_LENGTHS)
        lengths: NDArray[np.int32] = pc.list_flatten(column).to_numpy()
        return lengths

    def describe(self, mode: LongText, max_length: int) -> str:
        """What became of long texts, in a line."""
        lost = f"{100 * self.truncated:.1f} % of texts"
        if self.windows is None:
            how = "cut at" if mode is LongText.truncate else "cut to head and tail of"
            return f"{lost} {how} {max_length} tokens"
        several = 100 * (self.windows > 1).mean()
        num_lost = round(self.truncated * len(self.windows))
        return (
            f"{several:.1f} % of rows have several windows of {max_length} tokens "
            f"(mean {self.windows.mean():.2f}, at most {self.windows.max()} per row); "
            f"{num_lost:,} rows lost text"
        )

    def input_ids(self) -> NDArray[np.int32]:
        """Token ids of all rows, one row after another, [num_tokens]."""
        column = self.rows.data.column("input_ids")
        ids: NDArray[np.int32] = pc.list_flatten(column).to_numpy()
        return ids


def _update(digest: Any, values: pa.ChunkedArray) -> None:
    for chunk in values.chunks:
        content = np.ascontiguousarray(chunk.to_numpy())
        digest.update(content.data)
