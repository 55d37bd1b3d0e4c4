"""The loop: plan, step, record, evaluate, save. Observers are told what happened; they decide nothing."""

import logging
import signal
import time
from contextlib import AbstractContextManager, nullcontext

import torch

from ostinato import metrics
from ostinato.batching import Indices, Schedule, count_batches, plan_epoch
from ostinato.checkpoint import TrainState, load_newest, save_checkpoint
from ostinato.command_line import command, override
from ostinato.compiling import compiled
from ostinato.config import RunConfig
from ostinato.errors import CheckpointError, ConfigError, Interrupted
from ostinato.evaluation import Scorer
from ostinato.fingerprint import digest_file, keep_steps
from ostinato.interruption import Stop
from ostinato.model import save_classifier
from ostinato.optim import build_optimizer, lr_factor, set_lr
from ostinato.prepare import Prepared
from ostinato.recorder import Recorder
from ostinato.run_dir import RunDir
from ostinato.step import train_step
from ostinato.trackers import Trackers

log = logging.getLogger(__name__)


class Training:
    """A training under way. `run` goes to its end; `state` says where it stands."""

    def __init__(self, config: RunConfig, run: RunDir, prepared: Prepared, scorer: Scorer, stop: Stop) -> None:
        self.cfg = config.training
        self._run = run
        self.prepared = prepared
        self.state = TrainState()
        self._stop = stop
        self._cut = (self.cfg.batch_size, self.cfg.tokens_per_batch)
        self.schedule = Schedule(count_batches(prepared.train.lengths, *self._cut), self.cfg.epochs)
        self.optimizer = build_optimizer(prepared.model, self.cfg)
        self.scaler = torch.amp.GradScaler(
            prepared.compute.device.type, enabled=prepared.compute.precision.value == "fp16"
        )
        self.monitor = self.cfg.monitor or metrics.default_monitor(prepared.data.task)
        self._plan: tuple[int, list[Indices]] = (-1, [])
        self.scorer = scorer
        self._bar = scorer.bar
        self._task = self._bar.add_task("training", total=self.schedule.total_steps, status="")

    def resume(self) -> None:
        """Goes back to the newest whole checkpoint; without one, to the start."""
        state = load_newest(self._run, self.prepared.model, self.optimizer)
        if state is None:
            log.info("%s holds no whole checkpoint: starting at step 0", self._run.checkpoints)
            return
        self.state = state
        self.scaler.load_state_dict(state.scaler)
        self._bar.update(self._task, completed=state.step)
        log.info("going on at step %d of %d", state.step, self.schedule.total_steps)

    def run(self, trackers: Trackers, until_step: int | None = None) -> None:
        """Trains to the last step, until early stopping, or to `until_step`.

        Raises:
            TrainingDiverged: a loss that is NaN or infinite; the last good checkpoint stays.
            Interrupted: a signal asked for it; the checkpoint of this step is written.
        """
        self._last_step = min(self.schedule.total_steps, until_step or self.schedule.total_steps)
        keep_steps(self._run.steps, self.state.step)
        self.prepared.model.train()  # weights that were loaded come without dropout
        with self._compiled() if self.cfg.compile else nullcontext():
            self._recorder = Recorder(self._run, trackers)
            self._loop()
        self._bar.remove_task(self._task)

    def _compiled(self) -> AbstractContextManager[None]:
        log.info("training.compile=true: compiling the model")
        rows = [self._micro_batches(step)[0] for step in range(min(2, self.schedule.steps_per_epoch))]
        first = [self.prepared.collator.batch(self.prepared.train, indices) for indices in rows]
        return compiled(self.prepared.model, self.prepared.loss, first, self.prepared.compute)

    def _loop(self) -> None:
        evaluate_every = self.cfg.eval_every or self.schedule.steps_per_epoch
        while not self._finished():
            self._step()
            if self._due(self.cfg.log_every):
                self._record()
            if self._due(evaluate_every):
                self._evaluate()
            if self._due(self.cfg.checkpoint_every or evaluate_every) or self._finished() or self._stop.signal:
                self._save()
            if self._stop.signal and not self._finished():
                raise Interrupted(
                    f"stopped by {signal.Signals(self._stop.signal).name} after step {self.state.step} of "
                    f"{self.schedule.total_steps}; go on with: {self._go_on()}",
                    self._stop.signal,
                )

    def _step(self) -> None:
        step = self.state.step
        factor = lr_factor(step, self.schedule.total_steps, self.cfg.warmup_ratio, self.cfg.schedule)
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
            lambda number: self.prepared.masks.seed(self.prepared.seeds.derive("dropout", step, number)),
        )
        self.state.step += 1
        self._recorder.add(self.state.step, self.cfg.lr * factor, self._batch(step), result)
        self._bar.advance(self._task)

    def _micro_batches(self, step: int) -> list[Indices]:
        rows = self._batch(step)
        micro = [rows[number :: self.cfg.accumulate] for number in range(self.cfg.accumulate)]  # long rows in each
        return [indices for indices in micro if len(indices)]

    def _batch(self, step: int) -> Indices:
        epoch, position = self.schedule.position(step)
        if self._plan[0] != epoch:
            seed = self.prepared.seeds.derive("order", epoch)
            rows, tokens = self._cut
            plan = plan_epoch(self.prepared.train.lengths, rows, seed, self.prepared.batching, tokens)
            self._plan = (epoch, plan)
        return self._plan[1][position]

    def _due(self, every: int) -> bool:
        return self.state.step % every == 0 or self.state.step == self.schedule.total_steps

    def _evaluate(self) -> None:
        self._record()
        scores = self.scorer.score(self.prepared.model, self.prepared.val).scores
        self._recorder.since = time.perf_counter()  # an evaluation is no training time
        step, figures = self.state.step, scores.figures
        if self.monitor not in figures:
            there = ", ".join(sorted(figures))
            raise ConfigError([f"training.monitor={self.monitor}: no such validation figure here; there is {there}"])
        self._recorder.trackers.log(step, {f"val/{name}": value for name, value in figures.items()})
        self.state.validation.append({"step": step, **figures})
        value = figures[self.monitor]
        better = self.state.best is None or metrics.is_better(
            self.monitor, value, self.state.best, self.cfg.early_stopping.min_delta
        )
        shown = ", ".join(f"{name} {figures[name]:.4f}" for name in dict.fromkeys((self.monitor, "loss")))
        log.info("step %d: val %s%s", step, shown, " (best)" if better else "")
        if not better:
            self.state.without_improvement += 1
            return
        self.state.best, self.state.best_step, self.state.without_improvement = value, step, 0
        save_classifier(self.prepared.model, self.prepared.tokenizer, self._run.best)
        self.state.best_sha256 = digest_file(self._run.best_weights)

    def _save(self) -> None:
        self._record()  # nothing that diverged is ever saved
        self.state.scaler = self.scaler.state_dict()
        try:
            save_checkpoint(self._run, self.state, self.prepared.model, self.optimizer, self.cfg.keep_checkpoints)
        except OSError as error:
            raise CheckpointError(
                f"step {self.state.step}: the checkpoint could not be written ({error}); the one before is kept. "
                f"Make room, then go on with: {self._go_on()}"
            ) from error

    def _go_on(self) -> str:
        return command("train", override("resume", str(self._run.path)))

    def _finished(self) -> bool:
        patience = self.cfg.early_stopping.patience
        stops_early = patience is not None and self.state.without_improvement >= patience
        return stops_early or self.state.step >= self._last_step

    def _record(self) -> None:
        values = self._recorder.flush()
        if values:
            text = "loss {train/loss:.4f}  lr {train/lr:.2e}  {train/rows_per_s:.1f} rows/s".format_map(values)
            self._bar.update(self._task, status=text)
