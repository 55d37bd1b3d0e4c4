"""The record of a training's steps, `steps.jsonl`: one line per optimizer step.

At the end of a run, `fingerprint.json` holds the same steps.
"""

import hashlib
import json
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path

from ostinato.record.schema import RecordedStep
from ostinato.storage.atomic import atomic_file
from ostinato.storage.parsing import parse_json


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
        self._kept = b"".join(_whole_lines(path)[:last])
        self._digest = hashlib.sha256(self._kept)

    @property
    def sha256(self) -> str:
        """SHA-256 of all lines so far."""
        return self._digest.hexdigest()

    def remove_later(self) -> None:
        """Removes the lines after the last step that is kept. Call it before `append`.

        Until then the file is what an earlier session left.
        """
        with atomic_file(self._path, "wb") as file:
            file.write(self._kept)
        self._kept = b""

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
        digest = hashlib.sha256(b"".join(lines))
        return digest.hexdigest() == sha256
    numbers = [step.step for step in read_steps(path)]
    expected = list(range(1, last + 1))
    return numbers[:last] == expected


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
            step = StepFingerprint(**parse_json(line))
            if step.grad_norm is not None and not math.isfinite(step.grad_norm):
                # Earlier versions wrote NaN or Infinity.
                step = replace(step, grad_norm=None)
        except (ValueError, TypeError):
            break
        steps.append(step)
    return steps


def _whole_lines(path: Path) -> list[bytes]:
    """The lines of a file, without a last line that was cut off."""
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")
    whole = lines[:-1]
    return [line + b"\n" for line in whole]
