"""The loop: step, record, evaluate, save. Observers never change what it computes."""

import logging
from collections.abc import Callable

from ostinato.config import RunConfig
from ostinato.interruption import Stop
from ostinato.record.fingerprint import StepFingerprint
from ostinato.run_dir import RunDir
from ostinato.scoring.evaluation import Scorer
from ostinato.trackers import Trackers
from ostinato.training.best_model import BestModel
from ostinato.training.checkpoint import (
    CheckpointParts,
    TrainState,
    delete_later,
    load_newest,
    save_checkpoint,
)
from ostinato.training.divergence import check_overflows, check_weights
from ostinato.training.optimization import Optimization
from ostinato.training.prepare import Prepared
from ostinato.training.recorder import Recorder, progress_text
from ostinato.training.resume import (
    check_resumable,
    checkpoint_not_written,
    interrupted,
)
from ostinato.training.roles import Leader

log = logging.getLogger(__name__)


class Training:
    """A training: `run` trains to the end, `state` holds the progress.

    Args:
        config: the run's config.
        run: the run folder.
        prepared: data and model.
        scorer: scores the validation split.
        stop: holds the signal that requests the training to stop.
        leader: tells the other processes of the training what to do.

    Attributes:
        schedule: epochs and steps.
        learner: model, loss and optimizer.
        best_model: chooses and saves the best weights.
        state: the progress.
    """

    def __init__(
        self,
        config: RunConfig,
        run: RunDir,
        prepared: Prepared,
        scorer: Scorer,
        stop: Stop,
        leader: Leader,
    ) -> None:
        self.cfg = config.training
        self.prepared = prepared
        self.scorer = scorer
        self.state = TrainState()
        self._run = run
        self._stop = stop
        self._leader = leader

        self._optimization = Optimization(self.cfg, prepared, leader.team)
        self.schedule = self._optimization.schedule
        self.learner = self._optimization.learner
        self.best_model = BestModel(config, run, prepared)
        self._recorder = Recorder(run, self.learner.scaler)
        self._after_step: Callable[[], None] = lambda: None
        self._first_step = 0
        self._last_step = self.schedule.total_steps
        self._owns_folder = False

        self._bar = scorer.bar
        self._task = self._bar.add_task("training", total=self._last_step, status="")

    def resume(self) -> None:
        """Goes back to the newest complete checkpoint, or to the start without one.

        Raises:
            ResumeRefused: the checkpoint does not fit this config.
        """
        optimization = self._optimization
        parts = CheckpointParts(
            self.prepared.model, optimization.whole, optimization.average
        )
        state = load_newest(self._run, parts)
        if state is None:
            folder = self._run.checkpoints
            log.info("%s has no complete checkpoint: starting at step 0", folder)
            return
        total = self.schedule.total_steps
        monitor = self.best_model.monitor
        check_resumable(self._run, state, monitor=monitor, total_steps=total)
        self.state = state
        if state.scaler:
            self.learner.scaler.load_state_dict(state.scaler)
        self._leader.load(self._optimization)
        self._bar.update(self._task, completed=state.step)
        log.info("resuming at step %d of %d", state.step, total)

    def run(
        self,
        trackers: Trackers,
        until_step: int | None = None,
        after_step: Callable[[], None] = lambda: None,
    ) -> None:
        """Trains to the last step, until early stopping, or to `until_step`.

        Args:
            trackers: get the metrics.
            until_step: stop after this optimizer step.
            after_step: called after each step.

        Raises:
            TrainingDiverged: a loss, gradient norm or weight is NaN or infinite; the
                last good checkpoint is kept.
            Interrupted: a signal stopped the training; the checkpoint of the last step
                is written.
        """
        total = self.schedule.total_steps
        self._last_step = min(total, until_step or total)
        self._first_step = self.state.step
        self._after_step = after_step

        self._leader.train()
        self.prepared.model.train()  # Loaded models are in evaluation mode.
        with self._optimization.compiled():
            self._recorder.start(self.state.step, trackers)
            self._loop()
        if until_step is None:
            check_overflows(self.steps())
        self._bar.remove_task(self._task)

    def steps(self) -> list[StepFingerprint]:
        """The record of all steps so far.

        Raises:
            CheckpointError: `steps.jsonl` is not what this training wrote.
        """
        return self._recorder.steps(self.state.step)

    def _loop(self) -> None:
        evaluate_every = self.cfg.eval_every or self.schedule.steps_per_epoch
        save_every = self.cfg.checkpoint_every or evaluate_every

        while not self._is_finished():
            self._step()
            self._own_folder()
            self._after_step()

            if self._is_due(self.cfg.log_every):
                self._record()
            if self._is_due(evaluate_every):
                self._evaluate()

            # Read the signal once: it can arrive between two reads.
            stopped_by = self._stop.signal
            if self._is_due(save_every) or self._is_finished() or stopped_by:
                self._save()
            if stopped_by and not self._is_finished():
                progress = f"step {self.state.step} of {self.schedule.total_steps}"
                raise interrupted(self._run, stopped_by, progress)
        self._own_folder()

    def _step(self) -> None:
        step = self.state.step
        self._leader.step(step)
        result = self._optimization.take_step(step)

        self.state.step += 1
        lr, rows = self._optimization.lr(step), self._optimization.rows(step)
        self._recorder.add(self.state.step, lr, rows, result)
        self._bar.advance(self._task)

    def _record(self) -> None:
        means = self._recorder.flush()
        if means:
            self._bar.update(self._task, status=progress_text(means))

    def _evaluate(self) -> None:
        self._record()
        self._check_weights()
        with self._optimization.averaged():
            scores = self.scorer.score(self.prepared.model, self.prepared.val).scores
            self._recorder.restart_clock()  # Evaluation is not training time.
            named = {f"val/{name}": value for name, value in scores.metrics.items()}
            self._recorder.trackers.log(self.state.step, named)
            self.best_model.update(self.state, scores.metrics)

    def _save(self) -> None:
        # Check first: a checkpoint never holds a training that diverged.
        self._record()
        self._leader.save()
        optimizer = self._optimization.with_moments()
        check_weights(self.prepared.model, optimizer, self.state.step)

        state, learner = self.state, self.learner
        state.steps_sha256 = self._recorder.sha256
        state.scaler = learner.scaler.state_dict()
        state.monitor = self.best_model.monitor

        self._recorder.check_record(state.step)
        average = self._optimization.average
        parts = CheckpointParts(learner.model, optimizer, average)
        keep = self.cfg.keep_checkpoints
        try:
            save_checkpoint(self._run, state, parts, keep)
        except OSError as error:
            raise checkpoint_not_written(self._run, state.step, error) from error

    def _own_folder(self) -> None:
        """Restores steps, checkpoints and `best/` to the first step of this session.

        Called after the first step, because that step can fail: until then the files of
        an earlier session are kept.
        """
        if self._owns_folder:
            return
        self._owns_folder = True
        self._recorder.own_record()
        delete_later(self._run, self._first_step)
        self.best_model.restore(self.state)

    def _check_weights(self) -> None:
        check_weights(self.prepared.model, self.learner.optimizer, self.state.step)

    def _is_finished(self) -> bool:
        if self.state.step >= self._last_step:
            return True
        patience = self.cfg.early_stopping.patience
        return patience is not None and self.state.without_improvement >= patience

    def _is_due(self, every: int) -> bool:
        step = self.state.step
        return step % every == 0 or step == self.schedule.total_steps
