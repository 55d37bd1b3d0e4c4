"""What a run computed, as exact digests, and the first difference between two runs.

While a run trains, `steps.jsonl` gets one line per optimizer step. At its end,
`fingerprint.json` holds everything.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ostinato.record.schema import Fingerprint, RecordedStep
from ostinato.storage.atomic import atomic_file

_SHOWN_LENGTH = 12


@dataclass(frozen=True)
class StepFingerprint:
    """What one optimizer step did.

    Attributes:
        step: its number, from 1.
        order: digest of its row numbers.
        loss: its loss, exact.
        grad_norm: its gradient norm, exact; None if fp16's loss scale overflowed and
            the step changed no weight.
    """

    step: int
    order: str
    loss: float
    grad_norm: float | None

    def record(self) -> RecordedStep:
        """The step as it is kept in `fingerprint.json`."""
        return {
            "step": self.step,
            "order": self.order,
            "loss": self.loss,
            "grad_norm": self.grad_norm,
        }

    def line(self) -> str:
        """The step as one JSON line. Python writes floats that read back exactly."""
        return json.dumps(self.record(), allow_nan=False) + "\n"


class StepRecord:
    """The file `steps.jsonl` of a training, which grows, and the digest of its lines.

    Args:
        path: the file.
        last: keep the lines of the steps up to this one; later steps are computed
            again.
    """

    def __init__(self, path: Path, last: int) -> None:
        self._path = path
        kept = _whole_lines(path)[:last]
        with atomic_file(path, "wb") as file:
            file.writelines(kept)
        self._digest = hashlib.sha256(b"".join(kept))

    @property
    def sha256(self) -> str:
        """SHA-256 of all lines so far."""
        return self._digest.hexdigest()

    def append(self, steps: list[StepFingerprint]) -> None:
        """Adds steps and flushes them to disk.

        A checkpoint that is written afterwards therefore has a line for each step.
        """
        text = "".join(step.line() for step in steps).encode()
        with self._path.open("ab") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        self._digest.update(text)


def holds_steps(path: Path, last: int, sha256: str) -> bool:
    """Whether a file begins with the unchanged lines of the steps 1 to `last`.

    Args:
        path: the file, `steps.jsonl`.
        last: number of steps.
        sha256: digest of their lines. If it is empty, as in checkpoints of earlier
            versions, only the step numbers are compared.
    """
    if sha256:
        lines = _whole_lines(path)[:last]
        return hashlib.sha256(b"".join(lines)).hexdigest() == sha256
    numbers = [step.step for step in read_steps(path)][:last]
    return numbers == list(range(1, last + 1))


def read_steps(path: Path) -> list[StepFingerprint]:
    """Reads the steps of a run that has not ended.

    Args:
        path: the file, `steps.jsonl`.

    Returns:
        The steps up to the first damaged line, without a last line that was cut off.
    """
    steps = []
    for line in _whole_lines(path):
        try:
            step = StepFingerprint(**json.loads(line))
            if step.grad_norm is not None and not math.isfinite(step.grad_norm):
                # Earlier versions wrote NaN or Infinity.
                step = replace(step, grad_norm=None)
        except (ValueError, TypeError):
            break
        steps.append(step)
    return steps


def _whole_lines(path: Path) -> list[bytes]:
    """The lines of a file, without a last line that was cut off."""
    content = path.read_bytes() if path.is_file() else b""
    return [line + b"\n" for line in content.split(b"\n")[:-1]]


@dataclass(frozen=True)
class Difference:
    """The first value that differs between two fingerprints.

    Attributes:
        stream: what differs, e.g. loss.
        step: the optimizer step, or None.
        first: the first run's value.
        second: the second run's value.
    """

    stream: str
    step: int | None
    first: Any
    second: Any

    def __str__(self) -> str:
        where = "" if self.step is None else f" at step {self.step}"
        values = f"{_shorten(self.first)} and {_shorten(self.second)}"
        return f"first difference in {self.stream}{where}: {values}"


def first_difference(
    first: Fingerprint, second: Fingerprint, until_step: int | None = None
) -> Difference | None:
    """Compares two fingerprints with no tolerance.

    Args:
        first: content of a `fingerprint.json`.
        second: content of another one.
        until_step: compare only data, and steps up to this one.

    Returns:
        The first stream that differs: data, tokens, token_ids, initial_weights,
        order, loss, grad_norm, number of steps, evaluation, weights, best weights or
        predictions. None if the fingerprints are identical.
    """
    difference = _difference_at_start(first, second)
    if difference is None:
        difference = _difference_in_steps(first, second, until_step)
    if difference is None and until_step is None:
        difference = _difference_in_evaluations(first, second)
        if difference is None:
            difference = _difference_at_end(first, second)
    return difference


def _difference_at_start(
    first: Mapping[str, Any], second: Mapping[str, Any]
) -> Difference | None:
    # Runs of earlier versions recorded `tokens` instead of `token_ids`, so that a
    # stream can be missing from one of them.
    for stream in ("data", "tokens", "token_ids", "initial_weights"):
        in_both = stream in first and stream in second
        if in_both and first[stream] != second[stream]:
            return Difference(stream, None, first[stream], second[stream])
    return None


def _difference_in_steps(
    first: Fingerprint, second: Fingerprint, until_step: int | None
) -> Difference | None:
    ours = _steps_until(first["steps"], until_step)
    theirs = _steps_until(second["steps"], until_step)
    for a, b in zip(ours, theirs, strict=False):
        for stream in ("order", "loss", "grad_norm"):
            # As text, numbers compare to the last bit, and None equals None.
            if repr(a[stream]) != repr(b[stream]):
                return Difference(stream, a["step"], a[stream], b[stream])
    if len(ours) != len(theirs):
        return Difference("number of steps", None, len(ours), len(theirs))
    return None


def _difference_in_evaluations(
    first: Fingerprint, second: Fingerprint
) -> Difference | None:
    ours, theirs = first["evaluations"], second["evaluations"]
    for step in sorted(set(ours) & set(theirs), key=int):
        if ours[step] != theirs[step]:
            return Difference("evaluation", int(step), ours[step], theirs[step])
    return None


def _difference_at_end(
    first: Mapping[str, Any], second: Mapping[str, Any]
) -> Difference | None:
    for stream in ("weights", "best_weights", "predictions"):
        if first[stream] != second[stream]:
            name = stream.replace("_", " ")
            return Difference(name, None, first[stream], second[stream])
    return None


def _steps_until(
    steps: Sequence[Mapping[str, Any]], last: int | None
) -> list[Mapping[str, Any]]:
    if last is None:
        return list(steps)
    return [step for step in steps if step["step"] <= last]


def _shorten(value: Any) -> str:
    """A value as text; a digest is cut to its first characters."""
    if isinstance(value, dict):
        parts = [f"{key} {_shorten(item)}" for key, item in value.items()]
        return ", ".join(parts)
    return value[:_SHOWN_LENGTH] if isinstance(value, str) else repr(value)
