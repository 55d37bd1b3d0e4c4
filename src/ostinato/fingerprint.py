"""What a run computed, in a form that two runs can be compared by: exact digests, no tolerance.

While a run trains, `steps.jsonl` grows by one line per optimizer step; at its end `fingerprint.json` holds everything.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ostinato.atomic import write_text


def digest_array(values: NDArray[Any]) -> str:
    """SHA-256 of an array's type, shape and bytes."""
    digest = hashlib.sha256(f"{values.dtype.str}{values.shape}".encode())
    digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def digest_weights(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of all tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class StepPrint:
    """What one optimizer step did: digest of its row numbers, and its loss and gradient norm to the last bit."""

    step: int
    order: str
    loss: float
    grad_norm: float

    def line(self) -> str:
        """The step as one JSON line; Python writes floats so that they read back exactly."""
        return json.dumps(self.__dict__) + "\n"


def append_steps(path: Path, steps: list[StepPrint]) -> None:
    """Adds steps to the record of a run under way."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(step.line() for step in steps)


def read_steps(path: Path) -> list[StepPrint]:
    """Reads the record of a run under way; a last line that was cut off is left out."""
    if not path.is_file():
        return []
    steps = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            steps.append(StepPrint(**json.loads(line)))
        except (ValueError, TypeError):
            break
    return steps


def keep_steps(path: Path, last: int) -> None:
    """Forgets the steps after `last`: they are computed again."""
    steps = [step for step in read_steps(path) if step.step <= last]
    write_text(path, "".join(step.line() for step in steps))


@dataclass(frozen=True)
class Difference:
    """The first place where two fingerprints part."""

    stream: str
    step: int | None
    first: Any
    second: Any

    def __str__(self) -> str:
        where = "" if self.step is None else f" at step {self.step}"
        return f"{self.stream} parted{where}: {_short(self.first)} against {_short(self.second)}"


def first_difference(
    first: Mapping[str, Any], second: Mapping[str, Any], until_step: int | None = None
) -> Difference | None:
    """Compares two fingerprints with no tolerance.

    Args:
        first: content of a `fingerprint.json`.
        second: the other's.
        until_step: compare only data, and steps up to this one.

    Returns:
        The first stream that differs: data, tokens, token_ids, order, loss, grad_norm, evaluation, weights,
        best weights or predictions; None when identical.
    """
    # Runs of earlier versions recorded `tokens`, the key of the cache, in place of `token_ids`: nothing to compare.
    for stream in ("data", "tokens", "token_ids", "initial_weights"):
        if stream in first and stream in second and first[stream] != second[stream]:
            return Difference(stream, None, first[stream], second[stream])
    steps = _until(first["steps"], until_step), _until(second["steps"], until_step)
    for a, b in zip(*steps, strict=False):
        for stream in ("order", "loss", "grad_norm"):
            if repr(a[stream]) != repr(b[stream]):  # NaN equals itself here
                return Difference(stream, a["step"], a[stream], b[stream])
    if len(steps[0]) != len(steps[1]):
        return Difference("number of steps", None, len(steps[0]), len(steps[1]))
    if until_step is not None:
        return None
    common = sorted(set(first["evaluations"]) & set(second["evaluations"]), key=int)
    for step in common:
        if first["evaluations"][step] != second["evaluations"][step]:
            return Difference("evaluation", int(step), first["evaluations"][step], second["evaluations"][step])
    for stream in ("weights", "best_weights", "predictions"):
        if first[stream] != second[stream]:
            return Difference(stream.replace("_", " "), None, first[stream], second[stream])
    return None


def _until(steps: list[dict[str, Any]], last: int | None) -> list[dict[str, Any]]:
    return steps if last is None else [step for step in steps if step["step"] <= last]


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(item)}" for key, item in value.items())
    return value[:12] if isinstance(value, str) else repr(value)
