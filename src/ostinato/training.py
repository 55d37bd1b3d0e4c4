"""The loop: plan, step, record, evaluate, save. Observers are told what happened; they decide nothing."""

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from ostinato import metrics
from ostinato.batching import Indices, Schedule, plan_epoch
from ostinato.checkpoint import TrainState, save_checkpoint
from ostinato.collate import collate
from ostinato.config import RunConfig
from ostinato.errors import ConfigError, TrainingDiverged
from ostinato.evaluation import Scorer
from ostinato.model import save_classifier
from ostinato.optim import build_optimizer, lr_factor, set_lr
from ostinato.prepare import Prepared
from ostinato.run_dir import RunDir
from ostinato.step import StepResult, train_step
from ostinato.trackers import Trackers

log = logging.getLogger(__name__)


@dataclass
class Recorder:
    """Keeps the results of the steps since the last look, so that a GPU is asked for numbers only then."""

    trackers: Trackers
    pending: list[tuple[int, float, StepResult]] = field(default_factory=list)
    since: float = field(default_factory=time.perf_counter)

    def add(self, step: int, lr: float, result: StepResult) -> None:
        """Keeps the result of a step."""
        self.pending.append((step, lr, result))

    def flush(self) -> Mapping[str, float]:
        """Checks what is pending, logs its means at the last step, and returns them.

        Raises:
            TrainingDiverged: a loss that is NaN or infinite.
        """
        if not self.pending:
            return {}
        losses = torch.stack([r.loss for _, _, r in self.pending]).tolist()
        for (step, lr, _), loss in zip(self.pending, losses, strict=True):
            if not math.isfinite(loss):
                raise TrainingDiverged(
                    f"the loss is {loss} at step {step} with learning rate {lr:.3g}; lower training.lr, raise "
                    "training.warmup_ratio or take training.precision=fp32; the last good checkpoint and best/ are kept"
                )
        step, lr, last = self.pending[-1]
        seconds = time.perf_counter() - self.since
        values = {
            "train/loss": sum(losses) / len(losses),
            "train/lr": lr,
            "train/grad_norm": float(last.grad_norm),
            "train/rows_per_s": sum(r.num_rows for _, _, r in self.pending) / seconds,
            "train/tokens_per_s": sum(r.num_tokens for _, _, r in self.pending) / seconds,
        }
        # fp16's scaler skips steps whose gradients overflow: their norm is no figure.
        self.trackers.log(step, {k: v for k, v in values.items() if math.isfinite(v)})
        self.pending.clear()
        self.since = time.perf_counter()
        return values


class Training:
    """A training under way. `run` goes to its end; `state` says where it stands."""

    def __init__(self, config: RunConfig, run: RunDir, prepared: Prepared, trackers: Trackers, scorer: Scorer) -> None:
        self.cfg = config.training
        self._run = run
        self.prepared = prepared
        self.trackers = trackers
        self.state = TrainState()
        self.schedule = Schedule(len(prepared.train.lengths), self.cfg.batch_size, self.cfg.epochs)
        self.optimizer = build_optimizer(prepared.model, self.cfg)
        self.scaler = torch.amp.GradScaler(prepared.compute.device.type, enabled=prepared.compute.precision.value == "fp16")
        self.monitor = self.cfg.monitor or metrics.default_monitor(prepared.data.task)
        self._recorder = Recorder(trackers)
        self._plan: tuple[int, list[Indices]] = (-1, [])
        self._scorer = scorer
        self._bar = scorer.bar
        self._task = self._bar.add_task("training", total=self.schedule.total_steps, status="")

    def run(self) -> None:
        """Trains to the last step, or until early stopping.

        Raises:
            TrainingDiverged: a loss that is NaN or infinite; the last good checkpoint stays.
        """
        evaluate_every = self.cfg.eval_every or self.schedule.steps_per_epoch
        while not self._finished():
            self._step()
            if self._due(self.cfg.log_every):
                self._record()
            if self._due(evaluate_every):
                self._evaluate()
            if self._due(self.cfg.checkpoint_every or evaluate_every) or self._finished():
                self._save()
        self._bar.remove_task(self._task)

    def _step(self) -> None:
        step = self.state.step
        factor = lr_factor(step, self.schedule.total_steps, self.cfg.warmup_ratio, self.cfg.schedule)
        set_lr(self.optimizer, factor)
        micro = np.array_split(self._batch(step), self.cfg.accumulate)
        pad = self.prepared.tokenizer.pad_token_id
        result = train_step(
            self.prepared.model,
            self.optimizer,
            self.prepared.loss,
            [collate(self.prepared.train, indices, pad) for indices in micro if len(indices)],
            self.prepared.compute,
            self.cfg.max_grad_norm,
            self.scaler,
            lambda number: self.prepared.seeds.derive("dropout", step, number),
        )
        self.state.step += 1
        self._recorder.add(self.state.step, self.cfg.lr * factor, result)
        self._bar.advance(self._task)

    def _batch(self, step: int) -> Indices:
        epoch, position = self.schedule.position(step)
        if self._plan[0] != epoch:
            seed = self.prepared.seeds.derive("order", epoch)
            self._plan = (epoch, plan_epoch(self.prepared.train.lengths, self.cfg.batch_size, seed, self.cfg.batching))
        return self._plan[1][position]

    def _due(self, every: int) -> bool:
        return self.state.step % every == 0 or self.state.step == self.schedule.total_steps

    def _evaluate(self) -> None:
        self._record()
        scores = self._scorer.score(self.prepared.model, self.prepared.val).scores
        self._recorder.since = time.perf_counter()  # an evaluation is no training time
        step, figures = self.state.step, scores.figures
        if self.monitor not in figures:
            there = ", ".join(sorted(figures))
            raise ConfigError([f"training.monitor={self.monitor}: no such validation figure here; there is {there}"])
        self.trackers.log(step, {f"val/{name}": value for name, value in figures.items()})
        self.state.validation.append({"step": step, **figures})
        value = figures[self.monitor]
        better = self.state.best is None or metrics.is_better(
            self.monitor, value, self.state.best, self.cfg.early_stopping.min_delta
        )
        log.info("step %d: val %s %.4f, loss %.4f%s", step, self.monitor, value, figures["loss"], " (best)" if better else "")
        if not better:
            self.state.without_improvement += 1
            return
        self.state.best, self.state.best_step, self.state.without_improvement = value, step, 0
        save_classifier(self.prepared.model, self.prepared.tokenizer, self._run.best)

    def _save(self) -> None:
        self._record()  # nothing that diverged is ever saved
        save_checkpoint(self._run, self.state, self.prepared.model, self.optimizer, self.cfg.keep_checkpoints)

    def _finished(self) -> bool:
        patience = self.cfg.early_stopping.patience
        stops_early = patience is not None and self.state.without_improvement >= patience
        return stops_early or self.state.step >= self.schedule.total_steps

    def _record(self) -> None:
        values = self._recorder.flush()
        if values:
            text = "loss {train/loss:.4f}  lr {train/lr:.2e}  {train/rows_per_s:.1f} rows/s".format_map(values)
            self._bar.update(self._task, status=text)
