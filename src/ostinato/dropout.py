"""Dropout masks as a function of a seed, drawn cheaply on a CPU; on a GPU torch's own generator draws them.

torch's CPU dropout takes 7 ns per element, a quarter of a training step; 16 random bits and a comparison take 1.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Masks:
    """Draws which elements stay; nothing but `seed` decides what."""

    def __init__(self) -> None:
        self.seed(0)

    def seed(self, seed: int) -> None:
        """Starts the stream anew, and torch's global generators for whatever draws from them."""
        self._generator = np.random.Generator(np.random.SFC64(seed))
        torch.manual_seed(seed)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def keep(self, shape: torch.Size, p: float, device: torch.device) -> Tensor:
        """Draws int8 ones with probability `kept_share(p)`, zeros elsewhere."""
        threshold = _threshold(p)
        if device.type != "cpu":
            return (torch.rand(shape, device=device) * 2**16 >= threshold).to(torch.int8)
        size = shape.numel()
        words = self._generator.integers(0, 2**64, -(-size // 4), dtype=np.uint64)  # four draws in each
        draws = torch.from_numpy(words.view(np.int16)[:size]).view(shape)
        return (draws >= threshold - 2**15).view(torch.int8)


def kept_share(p: float) -> float:
    """Probability that an element stays: 1 - p in steps of 2**-16."""
    return 1.0 - _threshold(p) / 2**16


def _threshold(p: float) -> int:
    return round(p * 2**16)


class Dropout(nn.Dropout):
    """`torch.nn.Dropout` with masks of our own on a CPU."""

    def __init__(self, p: float, masks: Masks) -> None:
        super().__init__(p)
        self._masks = masks

    def forward(self, input: Tensor) -> Tensor:
        """Zeroes elements and scales what stays."""
        if not self.training or self.p == 0 or input.device.type != "cpu":
            return super().forward(input)
        keep = self._masks.keep(input.shape, self.p, input.device)
        dropped: Tensor = _Drop.apply(input, keep, kept_share(self.p))  # type: ignore[no-untyped-call]
        return dropped


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, keep: Tensor, share: float) -> Tensor:
        ctx.save_for_backward(keep)
        ctx.scale = 1 / share
        return (input * keep).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (keep,) = ctx.saved_tensors
        return (gradient * keep).mul_(ctx.scale), None, None


def replace_dropout(model: nn.Module, masks: Masks) -> None:
    """Makes every dropout layer of a model draw from `masks`."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p, masks))
