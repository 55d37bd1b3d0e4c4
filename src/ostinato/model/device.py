"""Device and precision of a run, chosen from the hardware and never by timing."""

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

_DEFAULT_THREADS = torch.get_num_threads()

# Parameters of glibc's mallopt.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


@dataclass(frozen=True)
class Compute:
    """Device and precision of a run, without `auto`."""

    device: torch.device
    precision: Precision

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Runs matrix products in the chosen precision; weights stay in fp32."""
        dtype = _DTYPES.get(self.precision)
        enabled = dtype is not None
        with torch.autocast(
            self.device.type, dtype=dtype, enabled=enabled, cache_enabled=True
        ):
            yield


def choose(device: Device, precision: Precision) -> Compute:
    """Replaces `auto` with a device and a precision of this machine.

    Raises:
        ConfigError: a device that is not available, or a precision that it does not
            support for training.
    """
    chosen = _device(device)
    if precision is Precision.auto:
        precision = Precision.bf16 if _fast_bf16(chosen) else Precision.fp32
    if precision is Precision.fp16 and chosen.type != "cuda":
        problem = f"training.precision=fp16: needs a CUDA GPU, not {chosen.type}"
        raise ConfigError([f"{problem}; use bf16 or fp32"])
    return Compute(chosen, precision)


def count_gpus(device: Device) -> int:
    """The CUDA GPUs of this machine that this setting chooses from."""
    return torch.cuda.device_count() if device in (Device.auto, Device.cuda) else 0


def count_processes(processes: int | str, device: Device) -> int:
    """The number of processes of a setting; `auto` is one per GPU."""
    return max(1, count_gpus(device)) if isinstance(processes, str) else processes


def check_processes(key: str, number: int, device: Device) -> None:
    """Refuses more processes than this machine has GPUs, or than its cores can run.

    Args:
        key: config key of the number, for the error.
        number: processes.
        device: what they compute on.

    Raises:
        ConfigError: there are too many.
    """
    gpus = count_gpus(device)
    if 0 < gpus < number:
        problem = f"{key}={number}: this machine has {gpus} GPUs"
        raise ConfigError([f"{problem}; use at most {gpus}"])
    check_cores(key, number)


def check_cores(key: str, number: int) -> None:
    """Refuses numbers of threads or processes that could end the program.

    Args:
        key: config key of the number, for the error.
        number: threads or processes.

    Raises:
        ConfigError: more than four per core of this machine.
    """
    cores = os.cpu_count() or 1
    most = 4 * cores
    if number > most:
        problem = f"{key}={number}: this machine has {cores} cores"
        raise ConfigError([f"{problem}; use at most {most}"])


def available_cores() -> int:
    """The cores that this process may use; a scheduler can grant fewer than exist."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_threads() -> int:
    """CPU threads of a process, if nobody sets another number."""
    return _DEFAULT_THREADS


def set_threads(number: int | None, key: str = "training.threads") -> None:
    """Sets the number of CPU threads.

    Args:
        number: threads; None keeps torch's default.
        key: config key of the number, for the error.

    Raises:
        ConfigError: see `check_cores`.
    """
    if number is not None:
        check_cores(key, number)
        torch.set_num_threads(number)


def keep_freed_memory() -> None:
    """Makes glibc keep large freed blocks for the next step.

    Otherwise the kernel maps them again in each step and fills each page with zeros.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_M_MMAP_THRESHOLD, 2**30)  # blocks of up to 1 GiB come from the heap
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)  # the heap does not shrink


def _device(device: Device) -> torch.device:
    available = {
        Device.cuda: torch.cuda.is_available(),
        Device.mps: torch.backends.mps.is_available(),
        Device.cpu: True,
    }
    if device is Device.auto:
        candidates = [name for name in available if available[name]]
        device = candidates[0]
    if not available[device]:
        problem = f"training.device={device.value}: not available on this machine"
        raise ConfigError([f"{problem} or in this build of torch; use auto"])
    return torch.device(device.value)


def _fast_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bf16; emulated bf16 is slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        features = torch.cpu.get_capabilities()
        return bool(features.get("amx_bf16") or features.get("avx512_bf16"))
    return False
