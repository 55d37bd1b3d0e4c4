"""What the steps left, written down: their exact record, and means for the trackers."""

import math
import time
from dataclasses import dataclass, field

import torch

from ostinato.data.batching import Indices
from ostinato.errors import TrainingDiverged
from ostinato.record.digests import digest_array
from ostinato.record.fingerprint import StepFingerprint, StepRecord
from ostinato.trackers import Trackers
from ostinato.training.step import StepResult


@dataclass
class Recorder:
    """Keeps the results of the steps since the last look, so that a GPU is asked for numbers only then."""

    record: StepRecord
    trackers: Trackers
    scaler: torch.amp.GradScaler
    pending: list[tuple[int, float, str, StepResult]] = field(default_factory=list)
    since: float = field(default_factory=time.perf_counter)

    def add(self, step: int, lr: float, indices: Indices, result: StepResult) -> None:
        """Keeps the result of a step."""
        self.pending.append((step, lr, digest_array(indices), result))

    def flush(self) -> dict[str, float]:
        """Checks what is pending, records each step, logs their means at the last, and returns these.

        Raises:
            TrainingDiverged: a loss or gradient norm that is NaN or infinite, unless fp16's loss scale overflowed.
        """
        if not self.pending:
            return {}
        results = [result for *_, result in self.pending]
        losses = torch.stack([r.loss for r in results]).tolist()
        norms = torch.stack([r.grad_norm for r in results]).tolist()
        prints = []
        for (step, lr, order, _), loss, norm in zip(
            self.pending, losses, norms, strict=True
        ):
            if not math.isfinite(loss):
                raise diverged(f"the loss is {loss}", step, lr)
            if not math.isfinite(norm) and not self.scaler.is_enabled():
                raise diverged(f"the gradient norm is {norm}", step, lr)
            prints.append(
                StepFingerprint(
                    step, order, loss, norm if math.isfinite(norm) else None
                )
            )
        step, lr, *_ = self.pending[-1]
        if (
            self.scaler.get_scale() < 1
        ):  # overflow at this scale is no matter of scaling
            raise diverged(
                f"fp16's loss scale fell to {self.scaler.get_scale():.3g}", step, lr
            )
        self.record.append(prints)
        seconds = time.perf_counter() - self.since
        values = {
            "train/loss": sum(losses) / len(losses),
            "train/lr": lr,
            "train/grad_norm": norms[-1],
            "train/rows_per_s": sum(r.num_rows for r in results) / seconds,
            "train/tokens_per_s": sum(r.num_tokens for r in results) / seconds,
        }
        # fp16's scaler skips steps whose gradients overflow: their norm is not logged.
        self.trackers.log(step, {k: v for k, v in values.items() if math.isfinite(v)})
        self.pending.clear()
        self.since = time.perf_counter()
        return values


def diverged(what: str, step: int, lr: float) -> TrainingDiverged:
    """The error of a training that left the finite numbers."""
    return TrainingDiverged(
        f"{what} at step {step} with learning rate {lr:.3g}; lower training.lr, raise training.warmup_ratio or take "
        "training.precision=fp32; the last good checkpoint and best/ are kept"
    )
