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

from ostinato.record.source import code_digest
from ostinato.redaction import redact, redacted

_ENVIRONMENT = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "CUDA_VISIBLE_DEVICES",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "ONEDNN_MAX_CPU_ISA",
    "PYTHONHASHSEED",
    "TOKENIZERS_PARALLELISM",
)


def environment(diff: bool = False) -> dict[str, Any]:
    """Versions, hardware and settings that a result depends on.

    Args:
        diff: keep the text of uncommitted changes, not only its digest.
    """
    return {
        "command": redacted([sys.executable, *sys.argv]),
        "git": _git(diff),
        "code": code_digest(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": _packages(),
        "threads": torch.get_num_threads(),
        "cpu": {
            "model": _cpu_model(),
            "capability": torch.backends.cpu.get_cpu_capability(),
        },
        "gpu": _gpu(),
        "determinism": {
            "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
            "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
            "cudnn_deterministic": torch.backends.cudnn.deterministic,
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "tf32": torch.backends.cuda.matmul.allow_tf32,
        },
        "environment": redacted(
            {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        ),
    }


def _packages() -> dict[str, str]:
    found = (
        distribution.metadata for distribution in importlib.metadata.distributions()
    )  # parsed at each look
    return {m["Name"].lower(): m["Version"] for m in found if "Name" in m}


def _ask(*command: str) -> str | None:
    # A variable of git can name a program that git runs, or another repository.
    own = {
        name: value for name, value in os.environ.items() if not name.startswith("GIT_")
    }
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env=own,
        )
    except OSError:
        return None  # no such program here
    return done.stdout if done.returncode == 0 else None


def _git(with_text: bool = False) -> dict[str, Any] | None:
    here = str(Path(__file__).parents[1])
    git = (
        "git",
        "-c",
        "core.fsmonitor=false",
        "-c",
        "core.hooksPath=/dev/null",
        "-C",
        here,
    )
    commit = _ask(*git, "rev-parse", "HEAD")
    if not commit:
        return None
    diff = _ask(*git, "diff", "--no-ext-diff", "--no-textconv", "HEAD") or ""
    text = {"text": redact(diff)} if with_text else {}
    return {"commit": commit.strip(), "diff": _digest(diff) | text if diff else None}


def _digest(diff: str) -> dict[str, Any]:
    """What a diff is known by; its text can hold passwords, and provenance is sent to trackers."""
    files = sum(line.startswith("diff --git ") for line in diff.splitlines())
    return {"sha256": hashlib.sha256(diff.encode()).hexdigest(), "files": files}


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(
            line.split(":", 1)[1].strip()
            for line in lines
            if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor()


def _gpu() -> dict[str, Any] | None:
    if not torch.cuda.is_available():
        return None
    return {
        "name": torch.cuda.get_device_name(),
        "capability": list(torch.cuda.get_device_capability()),
        "count": torch.cuda.device_count(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "driver": _ask(
            "nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"
        ),
    }
