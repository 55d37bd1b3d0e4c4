"""From row numbers to tensors: the rows of a batch packed into one, or padded to the longest of them."""

from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ostinato.batching import Indices
from ostinato.tokenise import TokenisedSplit

_FILL = {"token_type_ids": 0}


@dataclass(frozen=True)
class Segments:
    """Where each text lies in a packed row.

    Attributes:
        lengths: tokens of each text, int64 [num_rows].
        starts: place of each text's first token, int64 [num_rows].
        runs: (number, length) of texts of one length that follow each other.
    """

    lengths: Tensor
    starts: Tensor
    runs: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, lengths: NDArray[np.int64]) -> "Segments":
        """Lays texts of these lengths one after another."""
        runs = tuple((len(list(texts)), length) for length, texts in groupby(lengths.tolist()))
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        return cls(torch.from_numpy(lengths), torch.from_numpy(starts), runs)

    def to(self, device: torch.device) -> "Segments":
        """The same on a device."""
        return replace(self, lengths=_move(self.lengths, device), starts=_move(self.starts, device))


@dataclass(frozen=True)
class Batch:
    """Rows ready for the model.

    Attributes:
        inputs: the model's arguments: tensors [num_rows, longest], or [1, num_tokens] and their `segments`.
        labels: int64 [num_rows], or float32 [num_rows, num_labels] (multi_label), or float32 [num_rows] (regression).
        num_tokens: real tokens, padding not counted.
    """

    inputs: dict[str, Tensor | Segments]
    labels: Tensor
    num_tokens: int

    @property
    def num_rows(self) -> int:
        """Rows in the batch."""
        return len(self.labels)

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device; copies overlap with work on the device where memory is pinned."""
        if device.type == "cpu":
            return self
        return Batch(to_device(self.inputs, device), _move(self.labels, device), self.num_tokens)


def to_device(inputs: dict[str, Tensor | Segments], device: torch.device) -> dict[str, Tensor | Segments]:
    """The model's arguments on a device."""
    return {
        name: value.to(device) if isinstance(value, Segments) else _move(value, device)
        for name, value in inputs.items()
    }


def _move(tensor: Tensor, device: torch.device) -> Tensor:
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


@dataclass(frozen=True)
class Collator:
    """Makes batches in the form that a model takes.

    Attributes:
        pad_token_id: what fills `input_ids`; other columns are filled with 0.
        packed: one row without padding instead of padded rows.
        first_position: position id of a text's first token (packed).
    """

    pad_token_id: int
    packed: bool = False
    first_position: int = 0

    def batch(self, split: TokenisedSplit, indices: Indices) -> Batch:
        """Makes the batch of the given rows, in their order."""
        labels = torch.from_numpy(split.labels[indices])
        return Batch(self.inputs(split.rows[indices]), labels, int(split.lengths[indices].sum()))

    def inputs(self, rows: dict[str, list[list[int]]]) -> dict[str, Tensor | Segments]:
        """Turns token lists into the model's arguments.

        Args:
            rows: column name to one list of integers per row, all columns of a row equally long.
        """
        lengths = np.array([len(ids) for ids in rows["input_ids"]], dtype=np.int64)
        return self._pack(rows, lengths) if self.packed else self._pad(rows, lengths)

    def _pack(self, rows: dict[str, list[list[int]]], lengths: NDArray[np.int64]) -> dict[str, Tensor | Segments]:
        """int64 tensors [1, num_tokens], `position_ids` among them, and `segments`."""
        segments = Segments.of(lengths)
        flat = {name: np.concatenate(values).astype(np.int64) for name, values in rows.items()}
        places = np.arange(len(flat["input_ids"])) - np.repeat(segments.starts.numpy(), lengths)
        flat["position_ids"] = places + self.first_position
        return {name: torch.from_numpy(values)[None] for name, values in flat.items()} | {"segments": segments}

    def _pad(self, rows: dict[str, list[list[int]]], lengths: NDArray[np.int64]) -> dict[str, Tensor | Segments]:
        """int64 tensors [num_rows, longest], padded on the right, and `attention_mask` (1 for real tokens)."""
        mask = np.arange(lengths.max()) < lengths[:, None]
        inputs: dict[str, Tensor | Segments] = {"attention_mask": torch.from_numpy(mask.astype(np.int64))}
        for name, values in rows.items():
            padded = np.full(mask.shape, _FILL.get(name, self.pad_token_id), dtype=np.int64)
            padded[mask] = np.concatenate(values)
            inputs[name] = torch.from_numpy(padded)
        return inputs
