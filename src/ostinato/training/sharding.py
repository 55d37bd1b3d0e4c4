"""AdamW whose moments are divided among the processes.

Each process updates the part of the weights that it owns, and then sends it to the
others. AdamW computes each element by itself, so the weights get the same bits. The
parts end at multiples of a cache line, because the remainder of a line is computed by
other instructions.

The gradient is gathered nevertheless: its norm is a sum over whole parameters, which
would get other bits from parts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from ostinato.training.distributed import Team
from ostinato.training.gradient_sum import FixedOrderSum
from ostinato.training.slices import Slice

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, eq=False)
class _Segment:
    """The part of a parameter that this process owns.

    Attributes:
        parameter: the parameter.
        piece: its slice.
        number: its number in the slice.
        start: the first element that this process owns.
        weights: these elements, sharing the parameter's memory.
    """

    parameter: nn.Parameter
    piece: Slice
    number: int
    start: int
    weights: Tensor

    def of(self, whole: Tensor) -> Tensor:
        """This part of a tensor of the parameter's shape."""
        return whole.view(-1)[self.start : self.start + self.weights.numel()]

    @property
    def place(self) -> slice:
        """Where this part lies in the part of the slice that this process owns."""
        start = self.piece.offsets[self.number] + self.start - self.piece.own_start
        return slice(start, start + self.weights.numel())


class ShardedAdamW(AdamW):
    """AdamW over the parts of the parameters that this process owns.

    Args:
        whole: AdamW over the whole parameters, without moments.
        gradients: divides the parameters.
        team: the processes.
    """

    def __init__(self, whole: AdamW, gradients: FixedOrderSum, team: Team) -> None:
        self._team = team
        self._slices = gradients.slices
        self._segments = {
            segment.parameter: segment
            for piece in self._slices
            for segment in _segments(piece)
        }
        groups = []
        for group in whole.param_groups:
            own = filter(None, map(self._segments.get, group["params"]))
            groups.append({**group, "params": [segment.weights for segment in own]})
        super().__init__(groups)
        self._num_updates = dict.fromkeys(self._parameters(), 0)

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Updates the weights with the gradients in each parameter's `grad`."""
        for parameter in self._parameters():
            self._num_updates[parameter] += parameter.grad is not None
        for parameter, segment in self._segments.items():
            gradient = parameter.grad
            segment.weights.grad = None if gradient is None else segment.of(gradient)
        super().step()
        self.zero_grad()  # because their memory is used below
        for segment in self._segments.values():
            segment.piece.own[segment.place] = segment.weights
        for piece in self._slices:
            self._gather(piece)
            for number, parameter in enumerate(piece.parameters):
                parameter.detach().copy_(piece.view(number))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops all gradients."""
        super().zero_grad(set_to_none)
        for parameter in self._parameters():
            parameter.grad = None

    def moments(self) -> Iterator[tuple[nn.Parameter, dict[str, Tensor]]]:
        """The moments of each whole parameter that has some, one after another.

        All processes must iterate.
        """
        for piece in self._slices:
            whole: list[dict[str, Tensor]] = []
            for parameter in piece.parameters:
                updates = float(self._num_updates[parameter])
                whole.append({"step": torch.tensor(updates, device=parameter.device)})
            for name in MOMENTS:
                piece.own.zero_()
                for segment in self._segments.values():
                    state = self.state.get(segment.weights)
                    if segment.piece is piece and state:
                        piece.own[segment.place] = state[name]
                self._gather(piece)
                for number, moments in enumerate(whole):
                    moments[name] = piece.view(number).clone()
            for parameter, moments in zip(piece.parameters, whole, strict=True):
                if self._num_updates[parameter]:
                    yield parameter, moments

    def set_moments(self, parameter: nn.Parameter, moments: dict[str, Tensor]) -> None:
        """Takes this process's part of a parameter's moments."""
        self._num_updates[parameter] = int(moments["step"])
        segment = self._segments.get(parameter)
        if segment is None:
            return
        state = {name: segment.of(moments[name]).clone() for name in MOMENTS}
        self.state[segment.weights] = {"step": moments["step"].clone(), **state}

    def _parameters(self) -> list[nn.Parameter]:
        return [p for piece in self._slices for p in piece.parameters]

    def _gather(self, piece: Slice) -> None:
        self._team.start_gather(piece.gradients, piece.own).wait()


def _segments(piece: Slice) -> Iterator[_Segment]:
    """The parts of a slice's parameters that this process owns."""
    first = piece.own_start
    last = first + len(piece.own)
    for number, parameter in enumerate(piece.parameters):
        offset = piece.offsets[number]
        start = max(first - offset, 0)
        end = min(last - offset, parameter.numel())
        if start < end:
            weights = parameter.detach().view(-1)[start:end]
            yield _Segment(parameter, piece, number, start, weights)
