"""Adds the gradients of micro-batches in the order of their numbers.

In one process, autograd does. With several processes, each one owns a part of every
gradient. For each round of micro-batches, the owner gets its part from every process
and adds the parts in the order of the micro-batches. The sum is therefore the same for
every number of processes.

Floating-point addition is not associative. An all-reduce adds in an order that depends
on the number of processes, on the place in its buffer and on the network.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from ostinato.training.distributed import Team, Transfer
from ostinato.training.slices import SLICE_BYTES, Slice, cut_into_slices


class GradientSum(Protocol):
    """Adds the gradients of the micro-batches of one optimizer step."""

    def begin(self, count: int) -> Iterable[int]:
        """Starts a step.

        Args:
            count: micro-batches of the step, over all processes.

        Returns:
            The numbers of the micro-batches that this process computes.
        """

    def backward(self, part: Tensor) -> None:
        """Runs the backward pass of this process's next micro-batch.

        Args:
            part: its share of the loss, scalar.
        """

    def complete(self, parts: Sequence[Tensor]) -> Tensor:
        """Leaves the whole gradient in each parameter's `grad`.

        Args:
            parts: the shares of the loss of this process's micro-batches, detached.

        Returns:
            The sum of all shares, scalar.
        """


class OneProcess:
    """All micro-batches are computed here; autograd adds their gradients."""

    def begin(self, count: int) -> Iterable[int]:
        """See `GradientSum`."""
        return range(count)

    def backward(self, part: Tensor) -> None:
        """See `GradientSum`."""
        part.backward()  # type: ignore[no-untyped-call]

    def complete(self, parts: Sequence[Tensor]) -> Tensor:
        """See `GradientSum`."""
        return _add(parts)


class FixedOrderSum:
    """Micro-batches are dealt to processes in order: rank, rank + size, ...

    Args:
        model: the classifier, on the device.
        team: the processes.
        slice_bytes: size of a slice.

    Attributes:
        slices: the parameters, divided among the processes.
    """

    def __init__(
        self, model: nn.Module, team: Team, slice_bytes: int = SLICE_BYTES
    ) -> None:
        self._team = team
        self.slices = cut_into_slices(model, team, slice_bytes)
        self._places: dict[nn.Parameter, tuple[int, int]] = {}
        for index, piece in enumerate(self.slices):
            for number, parameter in enumerate(piece.parameters):
                self._places[parameter] = index, number
                parameter.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                    self._collect
                )
        self._computed = torch.zeros(len(self._places), dtype=torch.uint8)
        self._order = {parameter: i for i, parameter in enumerate(self._places)}
        self._count = 0
        self._rounds = 0
        self._round = 0
        self._is_in_round = False
        self._transfers: list[Transfer] = []
        self._gathers: list[Transfer] = []

    def begin(self, count: int) -> Iterable[int]:
        """See `GradientSum`."""
        self._count = count
        self._rounds = math.ceil(count / self._team.size)
        self._round = 0
        self._gathers = []
        self._computed.zero_()
        return range(self._team.rank, count, self._team.size)

    def backward(self, part: Tensor) -> None:
        """See `GradientSum`."""
        self._start_round()
        part.backward()  # type: ignore[no-untyped-call]
        self._finish_round()

    def complete(self, parts: Sequence[Tensor]) -> Tensor:
        """See `GradientSum`."""
        while self._round < self._rounds:  # no micro-batch for it in this round
            self._start_round()
            self._finish_round()
        for gather in self._gathers:
            gather.wait()
        self._set_gradients()
        return self._add_losses(parts)

    def _senders(self) -> list[bool]:
        """Whether each process has a micro-batch in this round."""
        first = self._round * self._team.size
        return [first + rank < self._count for rank in range(self._team.size)]

    def _start_round(self) -> None:
        self._is_in_round = True
        self._transfers = []
        for piece in self.slices:
            piece.missing = set(range(len(piece.parameters)))

    def _collect(self, parameter: nn.Parameter) -> None:
        """Takes a gradient, and sends the slices that are complete.

        Called by autograd. All processes send the slices in the same order.
        """
        if not self._is_in_round:
            return
        index, number = self._places[parameter]
        piece = self.slices[index]
        assert parameter.grad is not None
        piece.view(number).copy_(parameter.grad)
        parameter.grad = None
        self._computed[self._order[parameter]] = 1
        piece.missing.remove(number)
        while self._next_slice is not None and not self._next_slice.missing:
            self._send(self._next_slice)

    @property
    def _next_slice(self) -> Slice | None:
        """The slice to send next: a backward pass ends with the first parameters."""
        number = len(self.slices) - 1 - len(self._transfers)
        return self.slices[number] if number >= 0 else None

    def _send(self, piece: Slice) -> None:
        for number in piece.missing:
            # -0.0 + x is x for every x; 0.0 + x changes the sign of -0.0.
            piece.view(number).fill_(-0.0)
        senders = self._senders()
        received = piece.received[: sum(senders)]
        transfer = self._team.start_exchange(received, piece.gradients, senders)
        self._transfers.append(transfer)

    def _finish_round(self) -> None:
        while self._next_slice is not None:
            self._send(self._next_slice)
        num_senders = sum(self._senders())
        for transfer, piece in zip(self._transfers, self.slices[::-1], strict=True):
            transfer.wait()
            for number in range(num_senders):
                is_first = self._round == 0 and number == 0
                if is_first:
                    piece.own.copy_(piece.received[0])
                else:
                    piece.own.add_(piece.received[number])
            if self._round == self._rounds - 1:
                gather = self._team.start_gather(piece.gradients, piece.own)
                self._gathers.append(gather)
        self._round += 1
        self._is_in_round = False

    def _set_gradients(self) -> None:
        """Sets `grad`, except where no micro-batch computed one."""
        computed = self._team.gather(self._computed).amax(0).tolist()
        for parameter, (index, number) in self._places.items():
            if computed[self._order[parameter]]:
                parameter.grad = self.slices[index].view(number)

    def _add_losses(self, parts: Sequence[Tensor]) -> Tensor:
        device = self.slices[0].gradients.device
        own = torch.zeros(self._rounds, device=device)
        for number, part in enumerate(parts):
            own[number] = part
        by_number = self._team.gather(own).T.reshape(-1)
        return _add(by_number[: self._count].unbind())


def _add(parts: Sequence[Tensor]) -> Tensor:
    total = torch.zeros_like(parts[0])
    for part in parts:
        total += part
    return total
