"""Reads everything that a report shows from a run folder.

What is missing is noted, never guessed. An unfinished run is not scored, so its test
rows stay unseen. A finished run without saved predictions is scored again.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.config import RunConfig, Task
from ostinato.data.splits import Split, TextData, load_data
from ostinato.errors import ConfigError, UserError
from ostinato.record.schema import Fingerprint, Provenance, Results
from ostinato.run_dir import RunDir, read_json
from ostinato.scoring.calibration import Calibration, calibrate, load_calibration
from ostinato.scoring.predictions import load_predictions
from ostinato.scoring.rescore import Rescorer
from ostinato.seeding import Seeds
from ostinato.trackers import History
from ostinato.trackers.history import Point

_SAME = 5e-5  # metrics that differ by less look the same with four decimals

Predictions = tuple[NDArray[np.float32], NDArray[Any]]
"""Logits [n, C] and labels, in row order."""


@dataclass(frozen=True)
class RunContents:
    """What is known about a run.

    Attributes:
        run: run folder.
        config: config of the run.
        results: `results.json`; empty before the run has finished.
        provenance: `provenance.json`; empty if there is none.
        fingerprint: `fingerprint.json`; empty if there is none.
        metrics: logged points of each metric.
        labels: names of the classes.
        splits: the rows of val and test with their texts, where these rows can still be
            read and are the rows that were scored.
        predictions: predictions on val and test.
        calibration: calibration of the best weights; None if there is none.
        summary: which data were read, found and used.
        notes: what is missing, one line each.
    """

    run: RunDir
    config: RunConfig
    results: dict[str, Any]
    provenance: dict[str, Any]
    fingerprint: dict[str, Any]
    metrics: dict[str, list[Point]]
    labels: tuple[str, ...]
    splits: dict[str, Split]
    predictions: dict[str, Predictions]
    calibration: Calibration | None
    summary: dict[str, Any]
    notes: list[str]

    @property
    def task(self) -> Task:
        """What a label is."""
        return self.config.data.task

    @property
    def main_split(self) -> str | None:
        """Split that the report focuses on: test, else val; None without predictions."""
        for name in ("test", "val"):
            if name in self.predictions:
                return name
        return None


def read_run_contents(
    run: RunDir, config: RunConfig, data: TextData | None = None
) -> RunContents:
    """Reads a run folder; scores a finished run without saved predictions.

    Args:
        run: run folder.
        config: config of the run.
        data: data of the run; None loads them.
    """
    notes: list[str] = []
    results = _read_record(run, "results", notes)
    provenance = _read_record(run, "provenance", notes)
    finished = results.get("status") == "finished"
    fingerprint = _read_record(run, "fingerprint", notes if finished else [])

    data = data or _load_data(config, notes)
    splits = _unchanged_splits(data, provenance, notes)
    labels = tuple(results.get("labels") or (data.labels if data else ()))
    predictions: dict[str, Predictions] = {}
    for name in ("val", "test"):
        if name in results:
            found = _read_predictions(
                run, config, name, splits.get(name), results[name], notes
            )
            if found is not None:
                predictions[name] = found
    calibration = _read_calibration(
        run, config.data.task, labels, predictions.get("val"), notes
    )
    return RunContents(
        run=run,
        config=config,
        results=results,
        provenance=provenance,
        fingerprint=fingerprint,
        metrics=History.until(run).metrics,
        labels=labels,
        splits=splits,
        predictions=predictions,
        calibration=calibration,
        summary=results.get("data") or (data.report if data else {}),
        notes=notes,
    )


def _read_record(run: RunDir, name: str, notes: list[str]) -> dict[str, Any]:
    path = getattr(run, name)
    shapes = {"results": Results, "provenance": Provenance, "fingerprint": Fingerprint}
    try:
        return read_json(path, shapes[name])
    except ConfigError:
        note = f"{path.name} is {'damaged' if path.is_file() else 'missing'}"
        if name == "results":
            note += "; the run has not finished, or it was killed"
        notes.append(note)
        return {}


def _load_data(config: RunConfig, notes: list[str]) -> TextData | None:
    seeds = Seeds(config.training.seed, config.training.seeds)
    try:
        return load_data(config.data, seeds)
    except UserError as error:
        notes.append(f"texts are not shown because the data cannot be read: {error}")
        return None


def _unchanged_splits(
    data: TextData | None, provenance: dict[str, Any], notes: list[str]
) -> dict[str, Split]:
    """The val and test splits whose content is the same as during the run."""
    if data is None:
        return {}
    recorded = provenance.get("data", {})
    unchanged = {}
    changed = []
    for split in (data.val, data.test):
        if split is None:
            continue
        if recorded.get(split.name, split.sha256) == split.sha256:
            unchanged[split.name] = split
        else:
            changed.append(split.name)
    if changed:
        names = ", ".join(changed)
        notes.append(
            f"the data has changed since the run ({names}); its texts are not shown"
        )
    return unchanged


def _read_predictions(
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


def _read_calibration(
    run: RunDir,
    task: Task,
    labels: tuple[str, ...],
    validation: Predictions | None,
    notes: list[str],
) -> Calibration | None:
    if task is Task.regression or validation is None:
        return None
    try:
        return load_calibration(run.best, task, labels)
    except ConfigError:
        notes.append(
            f"{run.calibration.name} is missing or belongs to other weights; "
            "the calibration was fitted again for this report"
        )
        return calibrate(task, *validation, labels)
