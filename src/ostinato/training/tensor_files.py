"""Reads and writes the tensors of a model and its optimizer as safetensors files."""

from collections.abc import Hashable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from ostinato.model.adapter import own_weights
from ostinato.training.moments import moment_shapes


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Writes tensors to a file. Tied tensors are written once, under the first name.

    Raises:
        OSError: the disk is full, or the folder is not writable.
    """
    first = _first_names(tensors)
    separate = {
        name: _separate(tensor)
        for name, tensor in tensors.items()
        if first[name] == name
    }
    try:
        save_file(separate, path)
    except SafetensorError as error:
        raise OSError(str(error)) from error


def with_tied_tensors(
    model: nn.Module, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Adds the names that a model ties to the tensors of a file."""
    found = dict(tensors)
    for name, first in _first_names(own_weights(model)).items():
        if first in tensors:
            found[name] = tensors[first]
    return found


def _first_names(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """For each name, the first name of the same tensor."""
    first: dict[Hashable, str] = {}
    names = {}
    for name, tensor in tensors.items():
        # Empty tensors share no memory, even if their addresses are equal.
        identity = _memory(tensor) if tensor.numel() else name
        names[name] = first.setdefault(identity, name)
    return names


def _memory(tensor: Tensor) -> Hashable:
    """What two names of the same tensor have in common."""
    return (
        tensor.device,
        tensor.data_ptr(),
        tensor.dtype,
        tensor.shape,
        tensor.stride(),
    )


def _separate(tensor: Tensor) -> Tensor:
    """A contiguous tensor on the CPU that shares no memory with other tensors.

    safetensors refuses views.
    """
    separate = tensor.detach().cpu().contiguous()
    needed = separate.numel() * separate.element_size()
    if separate.untyped_storage().nbytes() == needed:
        return separate
    return separate.clone()


def moments_by_name(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimizer's moments and step counts as "PARAMETER.NAME"."""
    names = _parameter_names(model)
    moments: dict[str, Tensor] = {}
    for parameter, entries in optimizer.state.items():
        for name, tensor in entries.items():
            moments[f"{names[id(parameter)]}.{name}"] = tensor
    return moments


def moments_by_number(
    model: nn.Module, optimizer: Optimizer, tensors: Mapping[str, Tensor]
) -> dict[int, dict[str, Tensor]] | None:
    """Moments by the numbers that the optimizer gives its parameters.

    Args:
        model: the classifier.
        optimizer: its optimizer.
        tensors: moments as `moments_by_name` returns them. Checkpoints of earlier
            versions have the number in place of the parameter's name.

    Returns:
        For each number the moments by name; None if they do not fit these parameters or
        this optimizer.
    """
    names = _parameter_names(model)
    parameters: list[Tensor] = []
    for group in optimizer.param_groups:
        parameters += group["params"]
    numbers = {names[id(p)]: number for number, p in enumerate(parameters)}
    moments: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        parameter, _, name = key.rpartition(".")
        is_number = parameter.isdigit()
        number = int(parameter) if is_number else numbers.get(parameter, -1)
        if not 0 <= number < len(parameters):
            return None
        moments.setdefault(number, {})[name] = tensor
    for number, own in moments.items():
        shapes = moment_shapes(optimizer, parameters[number])
        if {name: tensor.shape for name, tensor in own.items()} != {
            "step": torch.Size(),
            **shapes,
        }:
            return None
    return moments


def _parameter_names(model: nn.Module) -> dict[int, str]:
    """The name of each parameter by its `id`."""
    return {id(parameter): name for name, parameter in model.named_parameters()}
