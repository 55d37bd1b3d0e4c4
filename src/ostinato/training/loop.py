"""The loop: plan, step, record, evaluate, save. Observers are told what happened; they decide nothing."""

import logging
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from ostinato.command_line import command, override
from ostinato.config import Precision, RunConfig
from ostinato.data.batching import Indices, Schedule, count_batches, plan_epoch
from ostinato.errors import (
    CheckpointError,
    ConfigError,
    Interrupted,
    ResumeRefused,
    TrainingDiverged,
)
from ostinato.interruption import Stop
from ostinato.model.build import digest_classifier, save_classifier
from ostinato.model.device import Compute
from ostinato.record.fingerprint import (
    StepFingerprint,
    StepRecord,
    holds_steps,
    read_steps,
)
from ostinato.run_dir import RunDir
from ostinato.scoring import metrics
from ostinato.scoring.evaluation import Scorer
from ostinato.trackers import Trackers
from ostinato.training.checkpoint import (
    TrainState,
    drop_later,
    find_best,
    load_newest,
    save_checkpoint,
)
from ostinato.training.compiling import compiled
from ostinato.training.optim import build_optimizer, lr_factor, set_lr
from ostinato.training.prepare import Prepared
from ostinato.training.recorder import Recorder, diverged
from ostinato.training.step import train_step

log = logging.getLogger(__name__)


class Training:
    """A training under way. `run` goes to its end; `state` says where it stands."""

    def __init__(
        self,
        config: RunConfig,
        run: RunDir,
        prepared: Prepared,
        scorer: Scorer,
        stop: Stop,
    ) -> None:
        self.cfg = config.training
        self._run = run
        self.prepared = prepared
        self.state = TrainState()
        self._stop = stop
        self._cut = (self.cfg.batch_size, self.cfg.tokens_per_batch)
        rows, tokens = self._cut
        num_batches = count_batches(
            prepared.train.lengths, rows, prepared.batching, tokens
        )
        self.schedule = Schedule(num_batches, self.cfg.epochs)
        self.optimizer = build_optimizer(prepared.model, self.cfg)
        self.scaler = gradient_scaler(prepared.compute)
        self._best_files: dict[str, str] = {}
        self._settled = False
        self._first_step = 0
        self.monitor = self.cfg.monitor or metrics.default_monitor(prepared.data.task)
        if self.monitor in metrics.undefined(prepared.data.task, prepared.val.labels):
            raise ConfigError(
                [
                    f"training.monitor={self.monitor}: these validation labels do not define it; take another metric"
                ]
            )
        self._plan: tuple[int, list[Indices]] = (-1, [])
        self.scorer = scorer
        self._bar = scorer.bar
        self._task = self._bar.add_task(
            "training", total=self.schedule.total_steps, status=""
        )

    def resume(self) -> None:
        """Goes back to the newest whole checkpoint; without one, to the start."""
        state = load_newest(self._run, self.prepared.model, self.optimizer)
        if state is None:
            log.info(
                "%s holds no whole checkpoint: starting at step 0",
                self._run.checkpoints,
            )
            return
        self._check_resumable(state)
        self.state = state
        if state.scaler:
            self.scaler.load_state_dict(state.scaler)
        self._bar.update(self._task, completed=state.step)
        log.info("going on at step %d of %d", state.step, self.schedule.total_steps)

    def _check_resumable(self, state: TrainState) -> None:
        where, total = f"resume={self._run.path}", self.schedule.total_steps
        if state.step > total:
            remedy = "type the training.epochs that the run has gone on with"
            raise ResumeRefused(
                [
                    f"{where}: its checkpoint is of step {state.step}, this config has {total}; {remedy}"
                ]
            )
        if state.monitor and state.monitor != self.monitor:
            chosen = f"its best weights were chosen by training.monitor={state.monitor}"
            raise ResumeRefused(
                [
                    f"{where}: {chosen}, not {self.monitor}; keep that monitor, or start a new run"
                ]
            )

    def _settle(self) -> None:
        """Makes the folder that of a run which has come to this step: no later checkpoint, and its own `best/`.

        Called after the first step, as that step can fail: until then an earlier session's files stay.
        """
        if self._settled:
            return
        self._settled = True
        drop_later(self._run, self._first_step)
        if not self.state.best_sha256:
            shutil.rmtree(self._run.best, ignore_errors=True)
            return
        best = find_best(self._run, self.state.best_sha256)
        try:
            self._best_files = save_classifier(
                self.prepared.model,
                self.prepared.tokenizer,
                self._run.best,
                weights=best,
            )
        except OSError as error:
            raise CheckpointError(
                f"{self._run.best} could not be written ({error})"
            ) from error

    def run(
        self,
        trackers: Trackers,
        until_step: int | None = None,
        stepped: Callable[[], None] = lambda: None,
    ) -> None:
        """Trains to the last step, until early stopping, or to `until_step`; calls `stepped` after each step.

        Raises:
            TrainingDiverged: a loss, gradient norm or weight that is NaN or infinite; the last good checkpoint stays.
            Interrupted: a signal asked for it; the checkpoint of this step is written.
        """
        self._last_step = min(
            self.schedule.total_steps, until_step or self.schedule.total_steps
        )
        self._first_step = self.state.step
        self._record_of_steps = StepRecord(self._run.steps, self.state.step)
        self.prepared.model.train()  # weights that were loaded come without dropout
        with self._compiled() if self.cfg.compile else nullcontext():
            self._stepped = stepped
            self._recorder = Recorder(self._record_of_steps, trackers, self.scaler)
            self._loop()
        if until_step is None and all(step.grad_norm is None for step in self.steps()):
            raise TrainingDiverged(
                "fp16's loss scale overflowed at every step; take training.precision=fp32 or bf16"
            )
        self._bar.remove_task(self._task)

    def steps(self) -> list[StepFingerprint]:
        """The record of all steps so far.

        Raises:
            CheckpointError: `steps.jsonl` is not what this training wrote.
        """
        if not holds_steps(
            self._run.steps, self.state.step, self._record_of_steps.sha256
        ):
            raise self._changed(self._run.steps)
        return read_steps(self._run.steps)[: self.state.step]

    def check_best(self) -> dict[str, str]:
        """Digests of the files in `best/` that decide predictions, by name.

        Raises:
            CheckpointError: they are not what this training wrote.
        """
        if not digest_classifier(self._run.best).items() >= self._best_files.items():
            raise self._changed(self._run.best)
        return self._best_files

    def _changed(self, path: Path) -> CheckpointError:
        return CheckpointError(
            f"{path}: damaged or changed while the run trained; "
            f"go back to the last whole checkpoint with: {self._go_on()}"
        )

    def _compiled(self) -> AbstractContextManager[None]:
        log.info("training.compile=true: compiling the model")
        rows = [
            self._micro_batches(step)[0]
            for step in range(min(2, self.schedule.steps_per_epoch))
        ]
        first = [
            self.prepared.collator.batch(self.prepared.train, indices)
            for indices in rows
        ]
        return compiled(
            self.prepared.model, self.prepared.loss, first, self.prepared.compute
        )

    def _loop(self) -> None:
        evaluate_every = self.cfg.eval_every or self.schedule.steps_per_epoch
        while not self._finished():
            self._step()
            self._settle()
            self._stepped()
            if self._due(self.cfg.log_every):
                self._record()
            if self._due(evaluate_every):
                self._evaluate()
            stopped_by = (
                self._stop.signal
            )  # read once: a signal can arrive between two looks
            if (
                self._due(self.cfg.checkpoint_every or evaluate_every)
                or self._finished()
                or stopped_by
            ):
                self._save()
            if stopped_by and not self._finished():
                raise Interrupted(
                    f"stopped by {signal.Signals(stopped_by).name} after step {self.state.step} of "
                    f"{self.schedule.total_steps}; go on with: {self._go_on()}",
                    stopped_by,
                )
        self._settle()

    def _step(self) -> None:
        step = self.state.step
        factor = lr_factor(
            step, self.schedule.total_steps, self.cfg.warmup_ratio, self.cfg.schedule
        )
        set_lr(self.optimizer, factor)
        split, collator = self.prepared.train, self.prepared.collator
        result = train_step(
            self.prepared.model,
            self.optimizer,
            self.prepared.loss,
            [collator.batch(split, indices) for indices in self._micro_batches(step)],
            self.prepared.compute,
            self.cfg.max_grad_norm,
            self.scaler,
            lambda number: self.prepared.masks.seed(
                self.prepared.seeds.derive("dropout", step, number)
            ),
        )
        self.state.step += 1
        self._recorder.add(
            self.state.step, self.cfg.lr * factor, self._batch(step), result
        )
        self._bar.advance(self._task)

    def _micro_batches(self, step: int) -> list[Indices]:
        rows = self._batch(step)
        micro = [
            rows[number :: self.cfg.accumulate] for number in range(self.cfg.accumulate)
        ]  # long rows in each
        return [indices for indices in micro if len(indices)]

    def _batch(self, step: int) -> Indices:
        epoch, position = self.schedule.position(step)
        if self._plan[0] != epoch:
            seed = self.prepared.seeds.derive("order", epoch)
            rows, tokens = self._cut
            plan = plan_epoch(
                self.prepared.train.lengths, rows, seed, self.prepared.batching, tokens
            )
            self._plan = (epoch, plan)
        return self._plan[1][position]

    def _due(self, every: int) -> bool:
        return (
            self.state.step % every == 0 or self.state.step == self.schedule.total_steps
        )

    def _evaluate(self) -> None:
        self._record()
        self._check_weights()
        scores = self.scorer.score(self.prepared.model, self.prepared.val).scores
        self._recorder.since = time.perf_counter()  # an evaluation is no training time
        step, metrics = self.state.step, scores.metrics
        self._recorder.trackers.log(
            step, {f"val/{name}": value for name, value in metrics.items()}
        )
        self.state.validation.append({"step": step, **metrics})
        value = metrics.get(
            self.monitor
        )  # None: the predictions do not define it, which is worse than any value
        better = not self.state.best_sha256 or (
            value is not None
            and (self.state.best is None or self._is_better(value, self.state.best))
        )
        names = [
            name for name in dict.fromkeys((self.monitor, "loss")) if name in metrics
        ]
        shown = ", ".join(f"{name} {metrics[name]:.4f}" for name in names)
        if value is None:
            shown += f", {self.monitor} not defined by these predictions"
        log.info("step %d: val %s%s", step, shown, " (best)" if better else "")
        if not better:
            self.state.without_improvement += 1
            return
        self.state.best, self.state.best_step, self.state.without_improvement = (
            value,
            step,
            0,
        )
        self._best_files = save_classifier(
            self.prepared.model, self.prepared.tokenizer, self._run.best
        )
        self.state.best_sha256 = self._best_files[self._run.best_weights.name]

    def _is_better(self, value: float, best: float) -> bool:
        return metrics.is_better(
            self.monitor, value, best, self.cfg.early_stopping.min_delta
        )

    def _save(self) -> None:
        self._record()  # nothing that diverged is ever saved
        self._check_weights()
        self.state.steps_sha256 = self._record_of_steps.sha256
        self.state.scaler = self.scaler.state_dict()
        self.state.monitor = self.monitor
        try:
            save_checkpoint(
                self._run,
                self.state,
                self.prepared.model,
                self.optimizer,
                self.cfg.keep_checkpoints,
            )
        except OSError as error:
            raise CheckpointError(
                f"step {self.state.step}: the checkpoint could not be written ({error}); the one before is kept. "
                f"Make room, then go on with: {self._go_on()}"
            ) from error

    def _check_weights(self) -> None:
        """The update of the last step is in no loss yet.

        Raises:
            TrainingDiverged: a weight or an optimizer moment is NaN or infinite.
        """
        moments = [
            value for state in self.optimizer.state.values() for value in state.values()
        ]
        for tensor in (*self.prepared.model.parameters(), *moments):
            if not tensor.isfinite().all():
                rate = max(group["lr"] for group in self.optimizer.param_groups)
                raise diverged(
                    "a weight or an optimizer moment is NaN or infinite after the update",
                    self.state.step,
                    rate,
                )

    def _go_on(self) -> str:
        return command("train", override("resume", str(self._run.path)))

    def _finished(self) -> bool:
        patience = self.cfg.early_stopping.patience
        stops_early = (
            patience is not None and self.state.without_improvement >= patience
        )
        return stops_early or self.state.step >= self._last_step

    def _record(self) -> None:
        values = self._recorder.flush()
        if values:
            text = "loss {train/loss:.4f}  lr {train/lr:.2e}  {train/rows_per_s:.1f} rows/s".format_map(
                values
            )
            self._bar.update(self._task, status=text)


def gradient_scaler(compute: Compute) -> torch.amp.GradScaler:
    """The loss scale of fp16; disabled in other precisions."""
    return torch.amp.GradScaler(
        compute.device.type, enabled=compute.precision is Precision.fp16
    )
