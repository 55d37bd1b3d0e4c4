"""Saves and loads the logits and labels of a split.

Loading does not need torch, so comparisons start immediately.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ostinato.errors import ConfigError
from ostinato.scoring.arrays import Labels, Logits
from ostinato.storage.atomic import atomic_file

_DIGEST = "sha256"


def save_predictions(
    path: Path,
    logits: Logits,
    labels: Labels,
) -> None:
    """Saves logits and labels of a split in a safetensors file, atomically.

    Args:
        path: the file; its folder is created if needed.
        logits: [num_rows, num_labels].
        labels: class ids [num_rows], 0 and 1 [num_rows, num_labels], or values
            [num_rows].
    """
    path.parent.mkdir(exist_ok=True)
    tensors = {"logits": logits, "labels": np.ascontiguousarray(labels)}
    content = save(tensors, metadata={_DIGEST: _digest(tensors)})
    with atomic_file(path, "wb") as file:
        file.write(content)


def load_predictions(path: Path) -> tuple[Logits, NDArray[Any]]:
    """Loads logits [num_rows, num_labels] and labels, see `save_predictions`.

    Raises:
        ConfigError: if the file is missing, damaged or changed.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            logits = file.get_tensor("logits")
            labels = file.get_tensor("labels")
        # Files of earlier versions have no digest.
        recorded = metadata.get(_DIGEST)
        actual = _digest({"logits": logits, "labels": labels})
        if recorded is not None and recorded != actual:
            raise ValueError("changed since the run wrote it")
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            [
                f"{path}: missing or damaged ({reason}); "
                "score the run again with scripts/evaluate.py"
            ]
        ) from None
    return logits, labels


def _digest(tensors: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in ("logits", "labels"):
        tensor = tensors[name]
        header = f"{name}{tensor.dtype.str}{tensor.shape}"
        digest.update(header.encode())
        digest.update(np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()
