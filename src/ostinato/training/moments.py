"""The tensors that an optimizer keeps for each parameter, besides its step count."""

import torch
from torch import Tensor, nn
from torch.optim import Adafactor, Optimizer


def moment_shapes(optimizer: Optimizer, parameter: Tensor) -> dict[str, torch.Size]:
    """The shape of each moment of a parameter, by its name in the optimizer's state."""
    shape = parameter.shape
    if not isinstance(optimizer, Adafactor):
        return {"exp_avg": shape, "exp_avg_sq": shape}
    if parameter.ndim < 2:
        return {"variance": shape}
    row_shape = torch.Size((*shape[:-1], 1))
    col_shape = torch.Size((*shape[:-2], 1, shape[-1]))
    return {"row_var": row_shape, "col_var": col_shape}


def zero_moments(optimizer: Optimizer, parameter: nn.Parameter) -> dict[str, Tensor]:
    """The moments of a parameter before its first update, and its step count."""
    # Adafactor reads the step count on the CPU.
    step_device = "cpu" if isinstance(optimizer, Adafactor) else parameter.device
    moments = {"step": torch.zeros((), device=step_device)}
    for name, shape in moment_shapes(optimizer, parameter).items():
        moments[name] = parameter.detach().new_zeros(shape)
    return moments
