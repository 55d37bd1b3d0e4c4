"""From row numbers to tensors: the rows of a batch, padded to the longest of them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ostinato.batching import Indices
from ostinato.tokenise import TokenisedSplit

_FILL = {"token_type_ids": 0}


@dataclass(frozen=True)
class Batch:
    """Rows ready for the model.

    Attributes:
        inputs: the model's arguments, [num_rows, longest] each.
        labels: int64 [num_rows], or float32 [num_rows, num_labels] (multi_label), or float32 [num_rows] (regression).
        num_tokens: real tokens, padding not counted.
    """

    inputs: dict[str, Tensor]
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
        inputs = {name: _move(tensor, device) for name, tensor in self.inputs.items()}
        return Batch(inputs, _move(self.labels, device), self.num_tokens)


def _move(tensor: Tensor, device: torch.device) -> Tensor:
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def pad_rows(rows: dict[str, list[list[int]]], pad_token_id: int) -> dict[str, Tensor]:
    """Pads token lists on the right to the longest and adds the attention mask.

    Args:
        rows: column name to one list of integers per row, all columns of a row equally long.
        pad_token_id: what fills `input_ids`; other columns are filled with 0.

    Returns:
        int64 tensors [num_rows, longest], `attention_mask` (1 for real tokens) among them.
    """
    lengths = np.array([len(ids) for ids in rows["input_ids"]])
    mask = np.arange(lengths.max()) < lengths[:, None]
    inputs = {"attention_mask": torch.from_numpy(mask.astype(np.int64))}
    for name, values in rows.items():
        padded = np.full(mask.shape, _FILL.get(name, pad_token_id), dtype=np.int64)
        padded[mask] = np.concatenate(values)
        inputs[name] = torch.from_numpy(padded)
    return inputs


def collate(split: TokenisedSplit, indices: Indices, pad_token_id: int) -> Batch:
    """Makes the batch of the given rows."""
    inputs = pad_rows(split.rows[indices], pad_token_id)
    labels = torch.from_numpy(split.labels[indices])
    return Batch(inputs, labels, int(split.lengths[indices].sum()))
