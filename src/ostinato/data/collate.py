"""Makes tensors from row numbers: packed into one row, or padded to the longest row."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ostinato.data.batching import Indices
from ostinato.data.tokenised_split import TokenisedSplit
from ostinato.data.windows import Windows, split_windows
from ostinato.errors import DataError

IntArray = NDArray[np.int64]

_MOST_TOKENS = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Segments:
    """Positions of the texts in a packed row.

    Attributes:
        starts: index of each text's first token, int64 [num_rows].
        ends: index of each text's last token, int64 [num_rows].
        bounds: the starts, the end of the last text, and the end of the filler,
            int32 [num_rows + 2].
        lengths: tokens of each text.
        filler: tokens after the last text; they belong to no text.
        longest: upper bound of the tokens of a text and of the filler.
    """

    starts: Tensor
    ends: Tensor
    bounds: Tensor
    lengths: tuple[int, ...]
    filler: int
    longest: int

    @classmethod
    def of(cls, lengths: IntArray, multiple: int = 1) -> "Segments":
        """Places texts one after another, followed by filler.

        Args:
            lengths: tokens of each text, [num_rows].
            multiple: the filler makes the length of the packed row a multiple of this.

        Raises:
            DataError: more tokens than an int32 can count, because kernels use int32.
        """
        num_tokens = int(lengths.sum())
        filler = -num_tokens % multiple
        if num_tokens + filler + multiple > _MOST_TOKENS:
            raise DataError(
                f"a packed batch of {num_tokens} tokens: at most 2**31 - 1 fit; "
                "lower training.batch_size"
            )
        ends = np.cumsum([0, *lengths, filler])
        bounds = torch.from_numpy(ends)
        return cls(
            starts=bounds[:-2],
            ends=bounds[1:-1] - 1,
            bounds=bounds.int(),
            lengths=tuple(lengths.tolist()),
            filler=filler,
            longest=-(-int(lengths.max()) // multiple) * multiple,
        )

    def to(self, device: torch.device) -> "Segments":
        """Copies the segments to a device."""
        starts, ends = _move(self.starts, device), _move(self.ends, device)
        bounds = _move(self.bounds, device)
        return replace(self, starts=starts, ends=ends, bounds=bounds)


# For each column, one list of integers per row.
TokenLists = dict[str, list[list[int]]]
Inputs = dict[str, Tensor | Segments | Windows]


@dataclass(frozen=True)
class Batch:
    """Rows ready for the model.

    Attributes:
        inputs: the model's arguments: tensors [num_rows, longest], or tensors
            [1, num_tokens] and their `segments`; and perhaps `windows`.
        labels: int64 [num_rows], float32 [num_rows, num_labels] (multi-label, and
            distributions), or float32 [num_rows] (regression).
        num_tokens: real tokens, without padding.
        weights: the weight of each row in the loss, float32 [num_rows]; None: 1.
    """

    inputs: Inputs
    labels: Tensor
    num_tokens: int
    weights: Tensor | None = None

    @property
    def num_rows(self) -> int:
        """Number of rows in the batch."""
        return len(self.labels)

    def to(self, device: torch.device) -> "Batch":
        """Copies the batch to a device; copies to a GPU overlap with its work."""
        if device.type == "cpu":
            return self
        inputs, labels = to_device(self.inputs, device), _move(self.labels, device)
        weights = None if self.weights is None else _move(self.weights, device)
        return Batch(inputs, labels, self.num_tokens, weights)


def to_device(inputs: Inputs, device: torch.device) -> Inputs:
    """Copies the model's arguments to a device."""
    moved: Inputs = {}
    for name, value in inputs.items():
        if isinstance(value, Segments | Windows):
            moved[name] = value.to(device)
        else:
            moved[name] = _move(value, device)
    return moved


def _move(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


@dataclass(frozen=True)
class Collator:
    """Makes batches in the form that a model takes.

    Attributes:
        pad_token_id: fills `input_ids`.
        packed: make one row without padding instead of padded rows.
        first_position: position id of a text's first token (packed).
        multiple: packed rows are filled up to a multiple of this number of tokens, for
            kernels of fixed shapes.
        pad_token_type_id: fills `token_type_ids`; other columns are filled with 0.
        left: pad before the text (padded).
    """

    pad_token_id: int
    packed: bool = False
    first_position: int = 0
    multiple: int = 1
    pad_token_type_id: int = 0
    left: bool = False

    def batch(self, split: TokenisedSplit, indices: Indices) -> Batch:
        """Makes the batch of the given rows, in their order."""
        inputs = self.inputs(split.rows[indices])
        labels, weights = split.targets(indices)
        num_tokens = int(split.lengths[indices].sum())
        return Batch(inputs, labels, num_tokens, weights)

    def inputs(self, rows: TokenLists) -> Inputs:
        """Turns token lists into the model's arguments.

        Args:
            rows: for each column, one list of integers per row; all columns of a row
                have the same length.

        Raises:
            DataError: a row has no tokens.
        """
        rows, windows = split_windows(rows)
        token_counts = [len(ids) for ids in rows["input_ids"]]
        lengths = np.array(token_counts, dtype=np.int64)
        if not lengths.all():
            raise DataError("a text has no tokens; remove empty texts")
        make = self._pack if self.packed else self._pad
        inputs = make(rows, lengths)
        if windows is not None:
            inputs["windows"] = windows
        return inputs

    def _pack(self, rows: TokenLists, lengths: IntArray) -> Inputs:
        """Makes int64 tensors [1, num_tokens] with `position_ids`, and `segments`."""
        segments = Segments.of(lengths, self.multiple)
        columns = {}
        for name, lists in rows.items():
            columns[name] = np.concatenate(lists).astype(np.int64)
        input_ids = columns["input_ids"]
        starts = segments.starts.numpy()
        columns["position_ids"] = self._positions(input_ids, starts, lengths)
        inputs: Inputs = {}
        for name, values in columns.items():
            width = (0, segments.filler)
            padded = np.pad(values, width, constant_values=self._fill(name))
            inputs[name] = torch.from_numpy(padded)[None]
        inputs["segments"] = segments
        return inputs

    def _pad(self, rows: TokenLists, lengths: IntArray) -> Inputs:
        """Makes int64 tensors [num_rows, longest] and `attention_mask`.

        The mask is 1 for real tokens and 0 for padding.
        """
        positions = np.arange(lengths.max())
        is_real = positions < lengths[:, None]
        if self.left:
            is_real = is_real[:, ::-1]
        mask = torch.from_numpy(is_real.astype(np.int64))
        inputs: Inputs = {"attention_mask": mask}
        for name, lists in rows.items():
            fill = self._fill(name)
            padded = np.full(is_real.shape, fill, dtype=np.int64)
            padded[is_real] = np.concatenate(lists)
            inputs[name] = torch.from_numpy(padded)
        return inputs

    def _positions(
        self, input_ids: IntArray, starts: IntArray, lengths: IntArray
    ) -> IntArray:
        """Position ids of packed tokens, [num_tokens]."""
        if self.first_position:
            is_pad = input_ids == self.pad_token_id
            if is_pad.any():
                return self._positions_around(is_pad, starts, lengths)
        start_of_token = np.repeat(starts, lengths)
        positions: IntArray = np.arange(len(input_ids)) - start_of_token
        return positions + self.first_position

    def _positions_around(
        self, is_pad: NDArray[np.bool_], starts: IntArray, lengths: IntArray
    ) -> IntArray:
        """Position ids as in RoBERTa: a pad token inside a text is not counted.

        Its position id is the id of the pad token.
        """
        is_counted = ~is_pad
        counted = np.cumsum(is_counted)
        counted_before_text: IntArray = counted[starts] - is_counted[starts]
        before: IntArray = np.repeat(counted_before_text, lengths)
        counted_in_text = counted - before
        positions = counted_in_text + self.first_position - 1
        return np.where(is_pad, self.pad_token_id, positions)

    def _fill(self, column: str) -> int:
        ids = {"input_ids": self.pad_token_id, "token_type_ids": self.pad_token_type_id}
        return ids.get(column, 0)
