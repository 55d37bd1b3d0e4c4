"""Divides the parameters of a model among processes, in slices."""

import math
from dataclasses import dataclass, field

from torch import Tensor, nn

from ostinato.errors import ConfigError
from ostinato.training.distributed import Team

SLICE_BYTES = 25 * 2**20
"""Gradients travel in slices of about this size while the backward pass goes on."""

# Gradients lie in a slice as far apart as torch's allocator places tensors, because the
# instructions that a library uses can depend on the address.
_ALIGNMENT = 64


@dataclass
class Slice:
    """Consecutive parameters whose gradients travel together.

    Attributes:
        parameters: the parameters.
        offsets: the index of each one's first element.
        gradients: their gradients in this process, [size * length]. At the end of a
            step, the whole gradients.
        own: the sum so far of this process's part, [length].
        own_start: where this part starts in `gradients`.
        received: this process's part from each sender, [size, length].
        missing: numbers of the parameters without a gradient in this round so far.
    """

    parameters: list[nn.Parameter]
    offsets: list[int]
    gradients: Tensor
    own: Tensor
    own_start: int
    received: Tensor
    missing: set[int] = field(default_factory=set)

    def view(self, number: int) -> Tensor:
        """The gradient of a parameter."""
        parameter, start = self.parameters[number], self.offsets[number]
        return self.gradients[start : start + parameter.numel()].view_as(parameter)


def cut_into_slices(model: nn.Module, team: Team, slice_bytes: int) -> list[Slice]:
    """Cuts the trained parameters of a model into slices, in their order.

    Args:
        model: the classifier, on the device.
        team: the processes.
        slice_bytes: size of a slice.
    """
    slices = []
    parameters: list[nn.Parameter] = []
    num_bytes = 0
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        if not parameter.is_contiguous():
            problem = "this model has parameters that are not contiguous in memory"
            raise ConfigError([f"training.processes: {problem}; use processes=1"])
        parameters.append(parameter)
        num_bytes += parameter.numel() * parameter.element_size()
        if num_bytes >= slice_bytes:
            slices.append(_slice(parameters, team))
            parameters, num_bytes = [], 0
    if parameters:
        slices.append(_slice(parameters, team))
    return slices


def _slice(parameters: list[nn.Parameter], team: Team) -> Slice:
    size, rank = team.size, team.rank
    per_line = _ALIGNMENT // parameters[0].element_size()
    offsets = []
    end = 0
    for parameter in parameters:
        offsets.append(end)
        end += math.ceil(parameter.numel() / per_line) * per_line
    length = math.ceil(end / (size * per_line)) * per_line
    like = parameters[0].detach()
    return Slice(
        parameters=parameters,
        offsets=offsets,
        gradients=like.new_zeros(size * length),  # also between the gradients
        own=like.new_empty(length),
        own_start=rank * length,
        received=like.new_empty(size, length),
    )
