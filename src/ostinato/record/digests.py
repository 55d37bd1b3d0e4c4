"""SHA-256 digests of arrays, weights and files."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_known: dict[tuple[int, ...], str] = {}


def digest_array(values: NDArray[Any]) -> str:
    """Computes the SHA-256 of an array's type, shape and bytes."""
    header = f"{values.dtype.str}{values.shape}"
    content = np.ascontiguousarray(values).tobytes()
    digest = hashlib.sha256(header.encode())
    digest.update(content)
    return digest.hexdigest()


def digest_weights(state: Mapping[str, torch.Tensor]) -> str:
    """Computes the SHA-256 of a model's weights.

    Args:
        state: tensors by name: a model's `state_dict()`.

    Returns:
        The digest of the names, types, shapes and bytes, in the order of the names.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        header = f"{name}{tensor.dtype}{tuple(tensor.shape)}"
        content = tensor.flatten().view(torch.uint8)
        digest.update(header.encode())
        digest.update(content.numpy().tobytes())
    return digest.hexdigest()


def digest_file(path: Path) -> str:
    """Computes the SHA-256 of a file.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_unless_known(path: Path) -> str:
    """SHA-256 of a file, which this process reads again only if the file changes.

    A changed file has another size or time of change, or is another file. A renamed
    file is the same file.

    Raises:
        OSError: the file cannot be read.
    """
    found = path.stat()
    content = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
    if content not in _known:
        _known[content] = digest_file(path)
    return _known[content]
