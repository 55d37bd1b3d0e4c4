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
from ostinato.scoring.arrays import Distributions, Labels, Logits
from ostinato.storage.atomic import atomic_file

_DIGEST = "sha256"
_TENSORS = ("logits", "labels")
_OPTIONAL = ("distributions", "windows")


def save_predictions(
    path: Path,
    logits: Logits,
    labels: Labels,
    distributions: Distributions | None = None,
    windows: NDArray[np.int32] | None = None,
) -> None:
    """Saves logits and labels of a split in a safetensors file, atomically.

    Args:
        path: the file; its folder is created if needed.
        logits: [num_rows, num_labels].
        labels: class ids [num_rows], 0 and 1 [num_rows, num_labels], or values
            [num_rows].
        distributions: probabilities of the classes in the data
            [num_rows, num_labels]; None if a row has one label.
        windows: windows of each row, [num_rows]; None if rows have no windows.
    """
    path.parent.mkdir(exist_ok=True)
    tensors: dict[str, NDArray[Any]] = {"logits": logits}
    tensors["labels"] = np.ascontiguousarray(labels)
    if distributions is not None:
        tensors["distributions"] = np.ascontiguousarray(distributions)
    if windows is not None:
        tensors["windows"] = windows
    content = save(tensors, metadata={_DIGEST: _digest(tensors)})
    with atomic_file(path, "wb") as file:
        file.write(content)


def load_predictions(path: Path) -> tuple[Logits, NDArray[Any]]:
    """Loads logits [num_rows, num_labels] and labels, see `save_predictions`.

    Raises:
        ConfigError: if the file is missing, damaged or changed.
    """
    tensors = _load(path)
    return tensors["logits"], tensors["labels"]


def load_distributions(path: Path) -> Distributions | None:
    """Loads the distributions of the same file; None if a row has one label.

    Raises:
        ConfigError: if the file is missing, damaged or changed.
    """
    return _load(path).get("distributions")


def load_windows(path: Path) -> NDArray[np.int32] | None:
    """Loads the number of windows of each row; None if rows have no windows.

    Raises:
        ConfigError: if the file is missing, damaged or changed.
    """
    return _load(path).get("windows")


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            present = file.keys()
            names = [*_TENSORS, *(name for name in _OPTIONAL if name in present)]
            tensors = {name: file.get_tensor(name) for name in names}
        # Files of earlier versions have no digest.
        recorded = metadata.get(_DIGEST)
        actual = _digest(tensors)
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
    return tensors


def _digest(tensors: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        header = f"{name}{tensor.dtype.str}{tensor.shape}"
        digest.update(header.encode())
        digest.update(np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()
