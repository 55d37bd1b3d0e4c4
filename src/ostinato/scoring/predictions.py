"""Logits and labels of a split as a run keeps them. Reading them takes no torch: comparisons start at once."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ostinato.errors import ConfigError
from ostinato.storage.atomic import atomic_file

_DIGEST = "sha256"


def save_predictions(
    path: Path, logits: NDArray[np.float32], labels: NDArray[Any]
) -> None:
    """Keeps `logits` and `labels` of a split in a safetensors file, whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    tensors = {"logits": logits, "labels": np.ascontiguousarray(labels)}
    with atomic_file(path, "wb") as file:
        file.write(save(tensors, metadata={_DIGEST: _digest(tensors)}))


def load_predictions(path: Path) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Reads back (logits [num_rows, num_labels], labels) as `save_predictions` wrote them.

    Raises:
        ConfigError: missing, damaged or changed.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            digest = (file.metadata() or {}).get(_DIGEST)
            kept = {name: file.get_tensor(name) for name in ("logits", "labels")}
        if digest not in (
            None,
            _digest(kept),
        ):  # files of earlier versions carry no digest
            raise ValueError("changed since the run wrote it")
        return kept["logits"], kept["labels"]
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            [
                f"{path}: missing or damaged ({reason}); scripts/evaluate.py scores the run again"
            ]
        ) from None


def _digest(tensors: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in ("logits", "labels"):
        digest.update(f"{name}{tensors[name].dtype.str}{tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()
