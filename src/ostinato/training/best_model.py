"""The weights with the best monitored validation metric, in `best/`."""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

from ostinato.config import RunConfig
from ostinato.errors import CheckpointError, ConfigError
from ostinato.model.trained import digest_classifier, save_classifier
from ostinato.run_dir import RunDir
from ostinato.scoring import metrics
from ostinato.training.checkpoint import TrainState
from ostinato.training.kept_best import find_best
from ostinato.training.prepare import Prepared
from ostinato.training.resume import changed_while_training

log = logging.getLogger(__name__)


class BestModel:
    """Chooses the best weights and saves them.

    Args:
        config: the run's config.
        run: its folder.
        prepared: model, tokenizer and validation split.

    Attributes:
        monitor: the validation metric that chooses.

    Raises:
        ConfigError: the validation labels do not define the metric.
    """

    def __init__(self, config: RunConfig, run: RunDir, prepared: Prepared) -> None:
        task = prepared.data.task
        self.monitor = config.training.monitor or metrics.default_monitor(task)
        if self.monitor in metrics.undefined(task, prepared.val.labels):
            undefined = "these validation labels do not define it; use another metric"
            raise ConfigError([f"training.monitor={self.monitor}: {undefined}"])
        self._min_delta = config.training.early_stopping.min_delta
        self._run = run
        self._prepared = prepared
        self._files: dict[str, str] = {}

    def update(self, state: TrainState, scores: Mapping[str, float]) -> None:
        """Adds an evaluation to the state, and saves the weights if they are better.

        Args:
            state: the progress of the training.
            scores: the validation metrics after `state.step`, by name.
        """
        state.validation.append({"step": state.step, **scores})
        is_better = self._is_better(state, scores)
        self._log_evaluation(state.step, scores, is_better)
        if not is_better:
            state.without_improvement += 1
            return
        state.best = scores.get(self.monitor)
        state.best_step = state.step
        state.without_improvement = 0
        self._save()
        state.best_sha256 = self._files[self._run.best_weights.name]

    def restore(self, state: TrainState) -> None:
        """Makes `best/` what it was at the checkpoint of this state.

        Raises:
            CheckpointError: `best/` cannot be written.
        """
        if not state.best_sha256:
            shutil.rmtree(self._run.best, ignore_errors=True)
            return
        weights = find_best(self._run, state.best_sha256)
        try:
            self._save(weights)
        except OSError as error:
            message = f"{self._run.best} could not be written ({error})"
            raise CheckpointError(message) from error

    def verified_files(self) -> dict[str, str]:
        """Digests of the files in `best/` that decide predictions, by name.

        Raises:
            CheckpointError: the files are not what this training wrote.
        """
        found = digest_classifier(self._run.best)
        if not found.items() >= self._files.items():
            raise changed_while_training(self._run, self._run.best)
        return self._files

    def _save(self, weights: Path | None = None) -> None:
        """Writes `best/`, with the weights of the model or those of a file."""
        model, tokenizer = self._prepared.model, self._prepared.tokenizer
        self._files = save_classifier(model, tokenizer, self._run.best, weights=weights)

    def _is_better(self, state: TrainState, scores: Mapping[str, float]) -> bool:
        if not state.best_sha256:
            return True  # The first evaluation.
        value = scores.get(self.monitor)
        if value is None:  # The predictions do not define it: worse than any value.
            return False
        if state.best is None:
            return True
        return metrics.is_better(self.monitor, value, state.best, self._min_delta)

    def _log_evaluation(
        self, step: int, scores: Mapping[str, float], is_better: bool
    ) -> None:
        names = dict.fromkeys((self.monitor, "loss"))
        shown = [f"{name} {scores[name]:.4f}" for name in names if name in scores]
        if self.monitor not in scores:
            shown.append(f"these predictions do not define {self.monitor}")
        suffix = " (best)" if is_better else ""
        log.info("step %d: val %s%s", step, ", ".join(shown), suffix)
