"""Records the results of the steps: exactly in `steps.jsonl`, as means in trackers."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ostinato.data.batching import Indices
from ostinato.record.digests import digest_array
from ostinato.record.fingerprint import (
    StepFingerprint,
    StepRecord,
    holds_steps,
    read_steps,
)
from ostinato.run_dir import RunDir
from ostinato.trackers import Trackers
from ostinato.training.divergence import check_loss_scale, diverged
from ostinato.training.resume import changed_while_training
from ostinato.training.step import StepResult


@dataclass(frozen=True, kw_only=True)
class _Pending:
    """A step that is not recorded yet."""

    step: int
    lr: float
    order: str
    result: StepResult


class Recorder:
    """Collects the results of steps and records them together.

    Reading a number from a GPU waits for it, so this reads the numbers only in `flush`.

    Args:
        run: the run folder, with `steps.jsonl`.
        scaler: gradient scaler; disabled unless the precision is fp16.

    Attributes:
        trackers: the observers that get the means.
    """

    def __init__(self, run: RunDir, scaler: torch.amp.GradScaler) -> None:
        self.trackers = Trackers()
        self._run = run
        self._scaler = scaler
        self._record: StepRecord | None = None
        self._pending: list[_Pending] = []
        self._since = 0.0

    def start(self, step: int, trackers: Trackers) -> None:
        """Opens the record.

        Args:
            step: keeps the lines up to this step; `own_record` removes later ones.
            trackers: the observers.
        """
        self.trackers = trackers
        self._record = StepRecord(self._run.steps, step)
        self.restart_clock()

    def own_record(self) -> None:
        """Removes the lines of later steps, which are computed again."""
        self._open_record.remove_later()

    def restart_clock(self) -> None:
        """Excludes the time so far from rows and tokens per second."""
        self._since = time.perf_counter()

    @property
    def sha256(self) -> str:
        """SHA-256 of all recorded lines."""
        return self._open_record.sha256

    def steps(self, last: int) -> list[StepFingerprint]:
        """Reads the recorded steps 1 to `last`.

        Raises:
            CheckpointError: `steps.jsonl` is not what this training wrote.
        """
        self.check_record(last)
        return read_steps(self._run.steps)[:last]

    def check_record(self, last: int) -> None:
        """Checks that `steps.jsonl` holds the steps 1 to `last`.

        A checkpoint without its steps could not be resumed, and would replace one that
        can.

        Raises:
            CheckpointError: `steps.jsonl` is not what this training wrote.
        """
        path = self._run.steps
        if not holds_steps(path, last, self.sha256):
            raise changed_while_training(self._run, path)

    def add(self, step: int, lr: float, indices: Indices, result: StepResult) -> None:
        """Adds the result of a step.

        Args:
            step: its number, from 1.
            lr: its learning rate.
            indices: its row numbers, int64 [num_rows].
            result: what it computed.
        """
        order = digest_array(indices)
        self._pending.append(_Pending(step=step, lr=lr, order=order, result=result))

    def flush(self) -> dict[str, float]:
        """Checks and records the added steps, and logs their means.

        Returns:
            The means, by name; empty if no step was added.

        Raises:
            TrainingDiverged: a loss or gradient norm is NaN or infinite, unless fp16's
                loss scale overflowed.
        """
        if not self._pending:
            return {}

        results = [pending.result for pending in self._pending]
        losses = torch.stack([result.loss for result in results]).tolist()
        norms = torch.stack([result.grad_norm for result in results]).tolist()
        self._open_record.append(self._checked_steps(losses, norms))

        last = self._pending[-1]
        seconds = time.perf_counter() - self._since
        values = {
            "train/loss": sum(losses) / len(losses),
            "train/lr": last.lr,
            "train/grad_norm": norms[-1],
            "train/rows_per_s": sum(result.num_rows for result in results) / seconds,
            "train/tokens_per_s": sum(r.num_tokens for r in results) / seconds,
        }

        # fp16's scaler skips steps whose gradients overflow: their norm is not logged.
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self.trackers.log(last.step, finite)
        self._pending.clear()
        self.restart_clock()
        return values

    @property
    def _open_record(self) -> StepRecord:
        assert self._record is not None, "call start first"
        return self._record

    def _checked_steps(
        self, losses: Sequence[float], norms: Sequence[float]
    ) -> list[StepFingerprint]:
        steps = []
        for pending, loss, norm in zip(self._pending, losses, norms, strict=True):
            is_finite = math.isfinite(norm)
            if not math.isfinite(loss):
                raise diverged(f"the loss is {loss}", pending.step, pending.lr)
            if not is_finite and not self._scaler.is_enabled():
                what = f"the gradient norm is {norm}"
                raise diverged(what, pending.step, pending.lr)
            grad_norm = norm if is_finite else None
            steps.append(StepFingerprint(pending.step, pending.order, loss, grad_norm))
        last = self._pending[-1]
        check_loss_scale(self._scaler, last.step, last.lr)
        return steps


def progress_text(means: Mapping[str, float]) -> str:
    """The means of some steps, as the progress bar shows them."""
    loss = f"loss {means['train/loss']:.4f}"
    lr = f"lr {means['train/lr']:.2e}"
    return f"{loss}  {lr}  {means['train/rows_per_s']:.1f} rows/s"
