"""Logits and labels of a split as a run keeps them. Reading them takes no torch: comparisons start at once."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from ostinato.atomic import atomic_file
from ostinato.errors import ConfigError


def save_predictions(path: Path, logits: NDArray[np.float32], labels: NDArray[Any]) -> None:
    """Keeps `logits` and `labels` of a split in a safetensors file, whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    with atomic_file(path, "wb") as file:
        file.write(save({"logits": logits, "labels": np.ascontiguousarray(labels)}))


def load_predictions(path: Path) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Reads back (logits [num_rows, num_labels], labels) as `save_predictions` wrote them.

    Raises:
        ConfigError: missing or damaged.
    """
    try:
        kept = load_file(path)
        return kept["logits"], kept["labels"]
    except (OSError, KeyError, SafetensorError) as error:
        raise ConfigError([f"{path}: missing or damaged ({error}); scripts/evaluate.py scores the run anew"]) from None
