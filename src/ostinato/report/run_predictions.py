"""Reads the predictions and the calibration of a run, or computes them again."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.config import RunConfig, Task
from ostinato.data.splits import Split
from ostinato.errors import ConfigError, UserError
from ostinato.run_dir import RunDir
from ostinato.scoring.arrays import Distributions
from ostinato.scoring.calibration import Calibration, calibrate, load_calibration
from ostinato.scoring.predictions import load_distributions, load_predictions
from ostinato.scoring.rescore import Rescorer

_SAME = 5e-5  # metrics that differ by less look the same with four decimals

Predictions = tuple[NDArray[np.float32], NDArray[Any]]
"""Logits [n, C] and labels, in row order."""


def read_predictions(
    run: RunDir,
    config: RunConfig,
    name: str,
    split: Split | None,
    recorded: dict[str, Any],
    notes: list[str],
) -> Predictions | None:
    """Loads the saved predictions of a split, or scores its rows again.

    Args:
        run: run folder.
        config: config of the run.
        name: name of the split.
        split: its rows; None if they cannot be read.
        recorded: its metrics in `results.json`.
        notes: gets a line for what is missing.

    Returns:
        Logits and labels; None if there are none.
    """
    try:
        logits, labels = load_predictions(run.predictions(name))
    except ConfigError:
        return _score_again(run, config, name, split, recorded, notes)
    if split is not None and len(split.rows) != len(labels):
        notes.append(f"{name}: the saved predictions belong to other rows")
        return None
    return logits, labels


def _score_again(
    run: RunDir,
    config: RunConfig,
    name: str,
    split: Split | None,
    recorded: dict[str, Any],
    notes: list[str],
) -> Predictions | None:
    missing = f"{name}: there are no saved predictions"
    if split is None:
        notes.append(f"{missing}, and there are no rows to score again")
        return None
    try:
        evaluated, rows = Rescorer(run, config).score(split)
    except UserError as error:
        notes.append(f"{missing}, and the rows cannot be scored again: {error}")
        return None
    difference = _first_difference(evaluated.scores.metrics, recorded)
    notes.append(f"{missing}; its rows were scored again for this report{difference}")
    return evaluated.logits, rows.labels


def _first_difference(metrics: dict[str, float], recorded: dict[str, Any]) -> str:
    for metric, value in metrics.items():
        before = recorded.get(metric, value)
        if abs(value - before) > _SAME:
            return f"; {metric} was {before:.4f} and is {value:.4f} now"
    return ""


def read_distributions(
    run: RunDir, names: Iterable[str], splits: Mapping[str, Split]
) -> dict[str, Distributions]:
    """Loads the probabilities of the classes that the rows of splits have.

    Args:
        run: run folder.
        names: splits with predictions.
        splits: their rows, for splits whose predictions were not saved.

    Returns:
        Probabilities [n, C] by split; empty if a row has one label.
    """
    found = {}
    for name in names:
        try:
            distributions = load_distributions(run.predictions(name))
        except ConfigError:
            distributions = splits[name].distributions
        if distributions is not None:
            found[name] = distributions
    return found


def read_calibration(
    run: RunDir,
    task: Task,
    labels: tuple[str, ...],
    validation: Predictions | None,
    notes: list[str],
    distributions: Distributions | None = None,
) -> Calibration | None:
    """Loads the calibration of the best weights, or fits it again.

    Args:
        run: run folder.
        task: what a label is.
        labels: names of the classes.
        validation: predictions on val; None if there are none.
        notes: gets a line if the calibration was fitted again.
        distributions: probabilities of the classes in the validation rows, if any.

    Returns:
        The calibration; None for regression or without predictions.
    """
    if task is Task.regression or validation is None:
        return None
    try:
        return load_calibration(run.best, task, labels)
    except ConfigError:
        notes.append(
            f"{run.calibration.name} is missing or belongs to other weights; "
            "the calibration was fitted again for this report"
        )
        return calibrate(task, *validation, labels, distributions)
