"""What ran, on what, with which data. Reads the machine; changes nothing."""

import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

_ENVIRONMENT = ("CUBLAS_WORKSPACE_CONFIG", "TOKENIZERS_PARALLELISM", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "HF_HUB_OFFLINE")
_ENVIRONMENT += ("HF_ENDPOINT", "CUDA_VISIBLE_DEVICES", "PYTHONHASHSEED", "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")


def environment() -> dict[str, Any]:
    """Versions, hardware and settings that a result depends on."""
    return {
        "command": [sys.executable, *sys.argv],
        "git": _git(),
        "code": _code(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {d.name.lower(): d.version for d in importlib.metadata.distributions() if d.name},
        "threads": torch.get_num_threads(),
        "cpu": {"model": _cpu_model(), "capability": torch.backends.cpu.get_cpu_capability()},
        "gpu": _gpu(),
        "determinism": {
            "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
            "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
            "cudnn_deterministic": torch.backends.cudnn.deterministic,
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "tf32": torch.backends.cuda.matmul.allow_tf32,
        },
        "environment": {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
    }


def _git() -> dict[str, Any] | None:
    def ask(*arguments: str) -> str | None:
        here = Path(__file__).parent
        done = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, check=False)
        return done.stdout if done.returncode == 0 else None

    try:
        commit = ask("rev-parse", "HEAD")
    except FileNotFoundError:
        return None
    return commit and {"commit": commit.strip(), "diff": ask("diff", "HEAD") or ""}


def _code() -> str:
    """SHA-256 of the package's own source."""
    digest = hashlib.sha256()
    package = Path(__file__).parent
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _gpu() -> dict[str, Any] | None:
    if not torch.cuda.is_available():
        return None
    return {
        "name": torch.cuda.get_device_name(),
        "count": torch.cuda.device_count(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver": torch.cuda.driver_version() if hasattr(torch.cuda, "driver_version") else None,
    }
