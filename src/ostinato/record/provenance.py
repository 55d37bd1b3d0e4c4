"""What a run ran on: command, code, packages, hardware and settings.

Reads the machine's state and changes nothing.
"""

import functools
import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from ostinato.record.drift import DECISIVE_VARIABLES
from ostinato.record.schema import Environment
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

# Without the user's or a repository's settings that name programs for git to run.
_GIT = (
    "git",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.hooksPath=/dev/null",
    "-C",
    str(Path(__file__).parents[1]),
)


def environment(diff: bool = False) -> Environment:
    """Collects the versions, hardware and settings that a result depends on.

    Args:
        diff: keep the text of uncommitted changes, not only its digest.
    """
    return {
        "command": redacted([sys.executable, *sys.argv]),
        "git": _git(diff),
        "code": code_digest(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": dict(_packages()),
        "threads": torch.get_num_threads(),
        "cpu": {
            "model": _cpu_model(),
            "capability": torch.backends.cpu.get_cpu_capability(),
        },
        "gpu": _gpu(),
        "determinism": _determinism(),
        "environment": _variables(),
    }


def _variables() -> dict[str, str]:
    """The environment variables that are set, by name."""
    variables = {}
    for name in _ENVIRONMENT:
        value = os.environ.get(name)
        if value is not None:
            # The value of a decisive variable is compared, so it is never masked.
            variables[name] = value if name in DECISIVE_VARIABLES else redact(value)
    return variables


def _determinism() -> dict[str, bool]:
    return {
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "tf32": torch.backends.cuda.matmul.allow_tf32,
    }


@functools.cache  # reading them all takes a third of a second
def _packages() -> dict[str, str]:
    """Versions of all installed packages, by name in lower case."""
    versions = {}
    for distribution in importlib.metadata.distributions():
        metadata = distribution.metadata  # parsed at each access
        if "Name" in metadata:
            versions[metadata["Name"].lower()] = metadata["Version"]
    return versions


def _output_of(*command: str) -> str | None:
    """Output of a command; None if it fails or does not exist."""
    # A variable of git can name a program that git runs, or another repository.
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith("GIT_")
    }
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env=variables,
        )
    except OSError:
        return None  # the program does not exist here
    return done.stdout if done.returncode == 0 else None


def _git(with_text: bool = False) -> dict[str, Any] | None:
    """The commit and the uncommitted changes; None outside a repository."""
    commit = _output_of(*_GIT, "rev-parse", "HEAD")
    if not commit:
        return None
    text = _output_of(*_GIT, "diff", "--no-ext-diff", "--no-textconv", "HEAD")
    diff = _digest(text) if text else None
    if diff is not None and text and with_text:
        diff["text"] = redact(text)
    return {"commit": commit.strip(), "diff": diff}


def _digest(diff: str) -> dict[str, Any]:
    """The digest of a diff and its number of files.

    Its text can hold passwords, and provenance is sent to trackers.
    """
    files = sum(line.startswith("diff --git ") for line in diff.splitlines())
    return {"sha256": hashlib.sha256(diff.encode()).hexdigest(), "files": files}


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    for line in text.splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def _gpu() -> dict[str, Any] | None:
    if not torch.cuda.is_available():
        return None
    driver = _output_of(
        "nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"
    )
    return {
        "name": torch.cuda.get_device_name(),
        "capability": list(torch.cuda.get_device_capability()),
        "count": torch.cuda.device_count(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "driver": driver,
    }
