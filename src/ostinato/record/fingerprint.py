"""What a run computed, in a form that two runs can be compared by: exact digests, no tolerance.

While a run trains, `steps.jsonl` grows by one line per optimizer step; at its end `fingerprint.json` holds everything.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ostinato.storage.atomic import atomic_file


@dataclass(frozen=True)
class StepPrint:
    """What one optimizer step did: digest of its row numbers, and its loss and gradient norm to the last bit.

    Attributes:
        step: its number, from 1.
        order: digest of its row numbers.
        loss: its loss.
        grad_norm: its gradient norm; None when fp16's loss scale overflowed and the step changed no weight.
    """

    step: int
    order: str
    loss: float
    grad_norm: float | None

    def line(self) -> str:
        """The step as one JSON line; Python writes floats so that they read back exactly."""
        return json.dumps(self.__dict__, allow_nan=False) + "\n"


class StepRecord:
    """The growing `steps.jsonl` of a training, and the digest of what it must hold.

    Args:
        path: the file.
        last: keeps the lines of steps up to this one; later steps are computed again.
    """

    def __init__(self, path: Path, last: int) -> None:
        self._path = path
        kept = _lines(path)[:last]
        with atomic_file(path, "wb") as file:
            file.writelines(kept)
        self._digest = hashlib.sha256(b"".join(kept))

    @property
    def sha256(self) -> str:
        """SHA-256 of all lines so far."""
        return self._digest.hexdigest()

    def append(self, steps: list[StepPrint]) -> None:
        """Adds steps, and flushes them to disk: a checkpoint that follows never has steps without lines."""
        text = "".join(step.line() for step in steps).encode()
        with self._path.open("ab") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        self._digest.update(text)


def holds_steps(path: Path, last: int, sha256: str) -> bool:
    """Whether a record begins with the lines of the steps 1 to `last`, unchanged.

    Args:
        path: the record, `steps.jsonl`.
        last: number of steps.
        sha256: digest of their lines; empty (checkpoints of earlier versions) compares only the step numbers.
    """
    lines = _lines(path)[:last]
    if sha256:
        return hashlib.sha256(b"".join(lines)).hexdigest() == sha256
    return [step.step for step in read_steps(path)][:last] == list(range(1, last + 1))


def _lines(path: Path) -> list[bytes]:
    """The whole lines of a file; a last line that was cut off is left out."""
    content = path.read_bytes() if path.is_file() else b""
    return [line + b"\n" for line in content.split(b"\n")[:-1]]


def read_steps(path: Path) -> list[StepPrint]:
    """Reads the record of a run under way; a last line that was cut off is left out."""
    steps = []
    for line in _lines(path):
        try:
            step = StepPrint(**json.loads(line))
            finite = step.grad_norm is not None and math.isfinite(step.grad_norm)
            steps.append(
                step if finite else replace(step, grad_norm=None)
            )  # earlier versions wrote NaN or Infinity
        except (ValueError, TypeError):
            break
    return steps


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
            if repr(a[stream]) != repr(
                b[stream]
            ):  # to the last bit, and None equals itself
                return Difference(stream, a["step"], a[stream], b[stream])
    if len(steps[0]) != len(steps[1]):
        return Difference("number of steps", None, len(steps[0]), len(steps[1]))
    if until_step is not None:
        return None
    common = sorted(set(first["evaluations"]) & set(second["evaluations"]), key=int)
    for step in common:
        if first["evaluations"][step] != second["evaluations"][step]:
            return Difference(
                "evaluation",
                int(step),
                first["evaluations"][step],
                second["evaluations"][step],
            )
    for stream in ("weights", "best_weights", "predictions"):
        if first[stream] != second[stream]:
            return Difference(
                stream.replace("_", " "), None, first[stream], second[stream]
            )
    return None


def _until(steps: list[dict[str, Any]], last: int | None) -> list[dict[str, Any]]:
    return steps if last is None else [step for step in steps if step["step"] <= last]


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(item)}" for key, item in value.items())
    return value[:12] if isinstance(value, str) else repr(value)
