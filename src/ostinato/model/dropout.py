"""Dropout masks as a function of a seed, drawn cheaply on a CPU; on a GPU torch's own generator draws them.

torch's CPU dropout takes 7 ns per element, a quarter of a training step; 8 random bits and a comparison take 0.4.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_RUN = 1024  # elements that share a threshold


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
            return (torch.rand(shape, device=device) * 2**16 >= threshold).to(
                torch.int8
            )
        size = shape.numel()
        runs = -(-size // _RUN)
        words = self._generator.integers(
            0, 2**64, runs * _RUN // 8, dtype=np.uint64
        )  # eight draws in each
        # The threshold's other 8 bits: of the runs, as many as they say have the next higher one.
        higher = (
            self._generator.integers(0, 2**8, (runs, 1), dtype=np.uint8)
            < threshold % 2**8
        )
        stays = words.view(np.uint8).reshape(runs, _RUN) >= higher + np.uint8(
            threshold // 2**8
        )
        return torch.from_numpy(stays.view(np.int8).ravel()[:size]).view(shape)


def kept_share(p: float) -> float:
    """Probability that an element stays: 1 - p in steps of 2**-16, and 1 / 256 at least."""
    return 1.0 - _threshold(p) / 2**16


def _threshold(p: float) -> int:
    return min(round(p * 2**16), 255 * 2**8)


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
        kept = keep.to(input.dtype)
        ctx.save_for_backward(kept)
        ctx.scale = 1 / share
        return _scaled_product(input, kept, ctx.scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (kept,) = ctx.saved_tensors
        return _scaled_product(gradient, kept, ctx.scale), None, None


def _scaled_product(values: Tensor, kept: Tensor, scale: float) -> Tensor:
    """Multiplies all three in one pass over memory."""
    return torch.addcmul(values.new_zeros(()), values, kept, value=scale)


def replace_dropout(model: nn.Module, masks: Masks) -> None:
    """Makes every dropout layer of a model draw from `masks`."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p, masks))
