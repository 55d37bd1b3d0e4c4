"""Everything that a report is made of, read from a run folder: what is missing is said, never guessed.

A run that is not over is not scored: its test rows stay unseen. One that kept no predictions is scored again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.config import RunConfig, Task
from ostinato.data.splits import Split, TextData, load_data
from ostinato.errors import ConfigError, UserError
from ostinato.record.files import read_fingerprint, read_provenance, read_results
from ostinato.run_dir import RunDir
from ostinato.scoring.calibration import Calibration, calibrate, load_calibration
from ostinato.scoring.predictions import load_predictions
from ostinato.scoring.rescore import Rescorer
from ostinato.seeding import Seeds
from ostinato.trackers import History
from ostinato.trackers.history import Point

_SAME = 5e-5  # metrics that differ less read alike

Predictions = tuple[NDArray[np.float32], NDArray[Any]]
"""Logits [n, C] and labels, in row order."""


@dataclass(frozen=True)
class Material:
    """What is known of a run.

    Attributes:
        run: its folder.
        config: its config.
        results: `results.json`; empty while the run is not over.
        provenance: `provenance.json`; empty where there is none.
        fingerprint: `fingerprint.json`; empty where there is none.
        metrics: logged points of each metric.
        labels: names of the classes.
        splits: rows with their texts, val and test, where they can still be read and are those that were scored.
        predictions: val and test.
        calibration: of the best weights; None where nothing can be calibrated.
        summary: what was read, found and used of the data.
        notes: what is missing, a line each.
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
    def main(self) -> str | None:
        """The split that counts: test, else val; None without predictions."""
        return next(
            (name for name in ("test", "val") if name in self.predictions), None
        )


def gather(run: RunDir, config: RunConfig, data: TextData | None = None) -> Material:
    """Reads a run folder; loads the data unless it is given, and scores a finished run that kept no predictions."""
    notes: list[str] = []
    results, provenance = _json(run, "results", notes), _json(run, "provenance", notes)
    fingerprint = _json(
        run, "fingerprint", notes if results.get("status") == "finished" else []
    )
    data = data or _load(config, notes)
    splits = _unchanged(data, provenance, notes)
    labels = tuple(results.get("labels") or (data.labels if data else ()))
    predictions: dict[str, Predictions] = {}
    for name in [name for name in ("val", "test") if name in results]:
        found = _predictions(run, config, name, splits.get(name), results[name], notes)
        if found is not None:
            predictions[name] = found
    return Material(
        run=run,
        config=config,
        results=results,
        provenance=provenance,
        fingerprint=fingerprint,
        metrics=History.until(run).metrics,
        labels=labels,
        splits=splits,
        predictions=predictions,
        calibration=_calibration(
            run, config.data.task, labels, predictions.get("val"), notes
        ),
        summary=results.get("data") or (data.report if data else {}),
        notes=notes,
    )


def _json(run: RunDir, name: str, notes: list[str]) -> dict[str, Any]:
    path = getattr(run, name)
    readers: dict[str, Callable[[RunDir], Any]] = {
        "results": read_results,
        "provenance": read_provenance,
        "fingerprint": read_fingerprint,
    }
    try:
        return dict(readers[name](run))
    except ConfigError:
        over = "damaged" if path.is_file() else "missing"
        notes.append(
            f"{path.name} is {over}"
            + ("; the run is not over, or was killed" if name == "results" else "")
        )
        return {}


def _load(config: RunConfig, notes: list[str]) -> TextData | None:
    try:
        return load_data(
            config.data, Seeds(config.training.seed, config.training.seeds)
        )
    except UserError as error:
        notes.append(
            f"the texts cannot be shown, for the data cannot be read any more: {error}"
        )
        return None


def _unchanged(
    data: TextData | None, provenance: dict[str, Any], notes: list[str]
) -> dict[str, Split]:
    if data is None:
        return {}
    recorded = provenance.get("data", {})
    there = {split.name: split for split in (data.val, data.test) if split is not None}
    changed = [
        name
        for name, split in there.items()
        if recorded.get(name, split.sha256) != split.sha256
    ]
    if changed:
        notes.append(
            f"the data has changed since the run ({', '.join(changed)}): its texts are not shown"
        )
    return {name: split for name, split in there.items() if name not in changed}


def _predictions(
    run: RunDir,
    config: RunConfig,
    name: str,
    split: Split | None,
    recorded: dict[str, Any],
    notes: list[str],
) -> Predictions | None:
    try:
        logits, truth = load_predictions(run.predictions(name))
    except ConfigError:
        if split is None:
            notes.append(
                f"{name}: no predictions were kept, and there are no rows to score again"
            )
            return None
    else:
        if split is None or len(split.rows) == len(truth):
            return logits, truth
        notes.append(f"{name}: the kept predictions are of other rows")
        return None
    try:
        evaluated, rows = Rescorer(run, config).score(split)
    except UserError as error:
        notes.append(
            f"{name}: no predictions were kept, and it cannot be scored again: {error}"
        )
        return None
    new = evaluated.scores.metrics
    moved = [
        metric
        for metric, value in new.items()
        if abs(value - recorded.get(metric, value)) > _SAME
    ]
    difference = (
        f"; {moved[0]} was {recorded[moved[0]]:.4f} and is {new[moved[0]]:.4f} now"
        if moved
        else ""
    )
    notes.append(
        f"{name}: no predictions were kept; for this report its rows were scored again{difference}"
    )
    return evaluated.logits, rows.labels


def _calibration(
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
            f"{run.calibration.name} is missing or of other weights; for this report it was fitted again"
        )
        return calibrate(task, *validation, labels)
