"""From row numbers to tensors: the rows of a batch packed into one, or padded to the longest of them."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ostinato.data.batching import Indices
from ostinato.data.tokenise import TokenisedSplit
from ostinato.errors import DataError


@dataclass(frozen=True)
class Segments:
    """Where each text lies in a packed row.

    Attributes:
        starts: place of each text's first token, int64 [num_rows].
        bounds: these, the end of the last text, and the end of what fills the row up, int32 [num_rows + 2].
        lengths: tokens of each text.
        filler: tokens after the last text; they belong to none.
        longest: no text and no filler has more tokens.
    """

    starts: Tensor
    bounds: Tensor
    lengths: tuple[int, ...]
    filler: int
    longest: int

    @classmethod
    def of(cls, lengths: NDArray[np.int64], multiple: int = 1) -> "Segments":
        """Lays texts of these lengths one after another and fills up to a multiple of so many tokens.

        Raises:
            DataError: more tokens than the int32 numbers of the kernels can count.
        """
        filler = int(-lengths.sum() % multiple)
        if int(lengths.sum()) + filler + multiple > np.iinfo(np.int32).max:
            raise DataError(
                f"a packed batch of {int(lengths.sum())} tokens: at most 2**31 - 1 fit; lower training.batch_size"
            )
        bounds = torch.from_numpy(np.cumsum([0, *lengths, filler]))
        longest = -(-int(lengths.max()) // multiple) * multiple
        return cls(bounds[:-2], bounds.int(), tuple(lengths.tolist()), filler, longest)

    def to(self, device: torch.device) -> "Segments":
        """The same on a device."""
        return replace(
            self, starts=_move(self.starts, device), bounds=_move(self.bounds, device)
        )


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
        return Batch(
            to_device(self.inputs, device), _move(self.labels, device), self.num_tokens
        )


def to_device(
    inputs: dict[str, Tensor | Segments], device: torch.device
) -> dict[str, Tensor | Segments]:
    """The model's arguments on a device."""
    return {
        name: value.to(device) if isinstance(value, Segments) else _move(value, device)
        for name, value in inputs.items()
    }


def _move(tensor: Tensor, device: torch.device) -> Tensor:
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(
        device, non_blocking=True
    )


@dataclass(frozen=True)
class Collator:
    """Makes batches in the form that a model takes.

    Attributes:
        pad_token_id: what fills `input_ids`.
        packed: one row without padding instead of padded rows.
        first_position: position id of a text's first token (packed).
        multiple: packed rows are filled up to a multiple of so many tokens, for kernels of fixed shapes.
        pad_token_type_id: what fills `token_type_ids`; other columns are filled with 0.
        left: padding goes before the text (padded).
    """

    pad_token_id: int
    packed: bool = False
    first_position: int = 0
    multiple: int = 1
    pad_token_type_id: int = 0
    left: bool = False

    def batch(self, split: TokenisedSplit, indices: Indices) -> Batch:
        """Makes the batch of the given rows, in their order."""
        labels = torch.from_numpy(split.labels[indices])
        return Batch(
            self.inputs(split.rows[indices]), labels, int(split.lengths[indices].sum())
        )

    def inputs(self, rows: dict[str, list[list[int]]]) -> dict[str, Tensor | Segments]:
        """Turns token lists into the model's arguments.

        Args:
            rows: column name to one list of integers per row, all columns of a row equally long.

        Raises:
            DataError: a row without tokens.
        """
        lengths = np.array([len(ids) for ids in rows["input_ids"]], dtype=np.int64)
        if not lengths.all():
            raise DataError("a text has no tokens; remove empty texts")
        return self._pack(rows, lengths) if self.packed else self._pad(rows, lengths)

    def _pack(
        self, rows: dict[str, list[list[int]]], lengths: NDArray[np.int64]
    ) -> dict[str, Tensor | Segments]:
        """int64 tensors [1, num_tokens], `position_ids` among them, and `segments`."""
        segments = Segments.of(lengths, self.multiple)
        flat = {
            name: np.concatenate(values).astype(np.int64)
            for name, values in rows.items()
        }
        places = np.arange(len(flat["input_ids"])) - np.repeat(
            segments.starts.numpy(), lengths
        )
        flat["position_ids"] = places + self.first_position
        if (
            self.first_position
            and (pads := flat["input_ids"] == self.pad_token_id).any()
        ):
            flat["position_ids"] = self._positions_around(
                pads, segments.starts.numpy(), lengths
            )
        tokens = {
            name: np.pad(v, (0, segments.filler), constant_values=self._fill(name))
            for name, v in flat.items()
        }
        return {
            name: torch.from_numpy(values)[None] for name, values in tokens.items()
        } | {"segments": segments}

    def _pad(
        self, rows: dict[str, list[list[int]]], lengths: NDArray[np.int64]
    ) -> dict[str, Tensor | Segments]:
        """int64 tensors [num_rows, longest], padded on one side, and `attention_mask` (1 for real tokens)."""
        mask = np.arange(lengths.max()) < lengths[:, None]
        mask = mask[:, ::-1] if self.left else mask
        inputs: dict[str, Tensor | Segments] = {
            "attention_mask": torch.from_numpy(mask.astype(np.int64))
        }
        for name, values in rows.items():
            padded = np.full(mask.shape, self._fill(name), dtype=np.int64)
            padded[mask] = np.concatenate(values)
            inputs[name] = torch.from_numpy(padded)
        return inputs

    def _positions_around(
        self,
        pads: NDArray[np.bool_],
        starts: NDArray[np.int64],
        lengths: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Position ids as RoBERTa's: a pad token in a text gets the pad token's id and is not counted."""
        counted = np.cumsum(~pads)
        before: NDArray[np.int64] = np.repeat(counted[starts] - ~pads[starts], lengths)
        return np.where(
            pads, self.pad_token_id, counted - before + self.first_position - 1
        )

    def _fill(self, column: str) -> int:
        return {
            "input_ids": self.pad_token_id,
            "token_type_ids": self.pad_token_type_id,
        }.get(column, 0)
