"""SHA-256 digests of arrays, weights and files."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def digest_array(values: NDArray[Any]) -> str:
    """Computes the SHA-256 of an array's type, shape and bytes."""
    digest = hashlib.sha256(f"{values.dtype.str}{values.shape}".encode())
    digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def digest_weights(state: Mapping[str, torch.Tensor]) -> str:
    """Computes the SHA-256 of a model's weights.

    Args:
        state: tensors by name, such as a model's `state_dict()`.

    Returns:
        The digest of the names, types, shapes and bytes, in the order of the names.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def digest_file(path: Path) -> str:
    """Computes the SHA-256 of a file.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
