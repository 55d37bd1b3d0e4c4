"""The final metrics of a run: validation and test with the best weights."""

import logging
from typing import Any

from transformers import PreTrainedModel

from ostinato.config import RunConfig, Task
from ostinato.data.tokenised_split import TokenisedSplit
from ostinato.model.frozen_dtype import store_matrices
from ostinato.model.packing import pack
from ostinato.model.trained import load_trained
from ostinato.record.digests import digest_array
from ostinato.run.outcome import Outcome
from ostinato.run_dir import RunDir
from ostinato.scoring import plots
from ostinato.scoring.evaluation import Evaluated, Scorer, describe
from ostinato.scoring.metrics import probabilities
from ostinato.scoring.predictions import save_predictions
from ostinato.trackers import Trackers
from ostinato.training.loop import Training

log = logging.getLogger(__name__)


def score_best(
    config: RunConfig, run: RunDir, training: Training, outcome: Outcome
) -> dict[str, str]:
    """Scores validation and test with the best weights on disk.

    Args:
        config: the run's config.
        run: its folder.
        training: after its end.
        outcome: gets the metrics; its results are completed.

    Returns:
        Digest of each split's logits.

    Raises:
        CheckpointError: the best weights are not what the training wrote.
    """
    training.best_model.verified_files()
    model = _load_best(config, run, training)
    digests = {}
    for split in (training.prepared.val, training.prepared.test):
        if split is None:
            continue

        evaluated = training.scorer.score(model, split)
        outcome.results[split.name] = describe(evaluated)
        for name, value in evaluated.scores.metrics.items():
            outcome.final[f"{split.name}/{name}"] = value

        path = run.predictions(split.name)
        extra = (split.distributions, split.windows)
        save_predictions(path, evaluated.logits, split.labels, *extra)
        digests[split.name] = digest_array(evaluated.logits)
        _log_metrics(evaluated, split)
        step = training.state.best_step
        _track_plots(evaluated, split, training.scorer, outcome.trackers, step)

    _track_test_metrics(training, outcome)
    outcome.results |= _summary(training)
    return digests


def _load_best(config: RunConfig, run: RunDir, training: Training) -> PreTrainedModel:
    model, _ = load_trained(run, config)
    model.to(training.prepared.compute.device)
    if training.prepared.collator.packed:
        pack(model, training.prepared.masks)
    store_matrices(model, config.model.dtype, training.prepared.compute.precision)
    return model


def _track_test_metrics(training: Training, outcome: Outcome) -> None:
    names = [name for name in outcome.final if name.startswith("test/")]
    values = {name: outcome.final[name] for name in names}
    outcome.trackers.log(training.state.step, values)


def _summary(training: Training) -> dict[str, Any]:
    """What `results.json` holds about the training and its data."""
    prepared, state = training.prepared, training.state
    data: dict[str, Any] = {**prepared.data.report}
    data["truncated"] = {split.name: split.truncated for split in prepared.splits}
    windows = {split.name: split.windows for split in prepared.splits}
    if prepared.train.windows is not None:
        data["windows"] = {
            name: {"mean": float(counts.mean()), "most": int(counts.max())}
            for name, counts in windows.items()
            if counts is not None
        }
    return {
        "steps": state.step,
        "epochs": state.step / training.schedule.steps_per_epoch,
        "monitor": training.best_model.monitor,
        "best_step": state.best_step,
        "validation": state.validation,
        "device": str(prepared.compute.device),
        "precision": prepared.compute.precision.value,
        "labels": list(prepared.data.labels),
        "data": data,
    }


def _log_metrics(evaluated: Evaluated, split: TokenisedSplit) -> None:
    scores = evaluated.scores
    log.info("%s: %s", split.name, _shown(scores.metrics))
    log.info("%s, majority class: %s", split.name, _shown(scores.majority))


def _shown(metrics: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())


def _track_plots(
    evaluated: Evaluated,
    split: TokenisedSplit,
    scorer: Scorer,
    trackers: Trackers,
    step: int,
) -> None:
    """Gives a split's plots to the trackers."""
    if not trackers.record_plots:
        return  # drawing takes longer than scoring
    confusion, labels = evaluated.scores.confusion, scorer.labels
    if confusion is not None and len(labels) <= plots.MAX_CLASSES:
        plot = plots.confusion_matrix(confusion, labels)
        trackers.plot(step, f"{split.name}/confusion_matrix", plot)
    if scorer.task is Task.regression:
        return
    values = probabilities(scorer.task, evaluated.logits)
    plot = plots.pr_curves(values, split.labels, labels)
    trackers.plot(step, f"{split.name}/pr_curves", plot)
    trackers.pr_curves(step, split.name, values, split.labels, labels)
