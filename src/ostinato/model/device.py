"""Where and in which number format the model computes: decided from what the machine has, never by a stopwatch."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from ostinato.config import Device, Precision
from ostinato.errors import ConfigError

_DTYPES = {Precision.bf16: torch.bfloat16, Precision.fp16: torch.float16}


@dataclass(frozen=True)
class Compute:
    """Device and precision of a run, with nothing left to decide."""

    device: torch.device
    precision: Precision

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Runs matrix products in the chosen precision; weights stay fp32."""
        dtype = _DTYPES.get(self.precision)
        with torch.autocast(
            self.device.type, dtype=dtype, enabled=dtype is not None, cache_enabled=True
        ):
            yield


def choose(device: Device, precision: Precision) -> Compute:
    """Settles `auto`.

    Raises:
        ConfigError: a device that this machine does not have, or a precision that it cannot train in.
    """
    chosen = _device(device)
    if precision is Precision.auto:
        precision = Precision.bf16 if _fast_bf16(chosen) else Precision.fp32
    if precision is Precision.fp16 and chosen.type != "cuda":
        raise ConfigError(
            [
                f"training.precision=fp16: needs a CUDA GPU, not {chosen.type}; take bf16 or fp32"
            ]
        )
    return Compute(chosen, precision)


def check_cores(key: str, number: int) -> None:
    """Refuses so many threads or processes that starting them can end the program.

    Raises:
        ConfigError: more than four per core of this machine.
    """
    cores = os.cpu_count() or 1
    if number > 4 * cores:
        raise ConfigError(
            [
                f"{key}={number}: this machine has {cores} cores; take at most {4 * cores}"
            ]
        )


def set_threads(number: int | None) -> None:
    """Sets the number of CPU threads; None leaves torch's choice.

    Raises:
        ConfigError: see `check_cores`.
    """
    if number is not None:
        check_cores("training.threads", number)
        torch.set_num_threads(number)


def keep_freed_memory() -> None:
    """Lets glibc keep large blocks for the next step; else the kernel hands them out anew, page after page, zeroed."""
    mallopt = (
        getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    )
    if mallopt is not None:
        mallopt(
            -3, 2**30
        )  # M_MMAP_THRESHOLD: blocks of up to a GiB come from the heap,
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: which does not shrink


def _device(device: Device) -> torch.device:
    available = {
        Device.cuda: torch.cuda.is_available(),
        Device.mps: torch.backends.mps.is_available(),
        Device.cpu: True,
    }
    if device is Device.auto:
        device = next(d for d, there in available.items() if there)
    if not available[device]:
        raise ConfigError(
            [
                f"training.device={device.value}: this machine (or this build of torch) has none; take auto"
            ]
        )
    return torch.device(device.value)


def _fast_bf16(device: torch.device) -> bool:
    """Whether the hardware itself multiplies bf16; emulated, it is slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        features = torch.cpu.get_capabilities()
        return bool(features.get("amx_bf16") or features.get("avx512_bf16"))
    return False
