"""Reads everything that a report shows from a run folder.

What is missing is noted, never guessed. An unfinished run is not scored, so its test
rows stay unseen. A finished run without saved predictions is scored again.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.config import RunConfig, Task
from ostinato.data.splits import Split, TextData, load_data
from ostinato.errors import ConfigError, UserError
from ostinato.record.files import read_fingerprint, read_provenance, read_results
from ostinato.report.run_predictions import (
    Predictions,
    read_calibration,
    read_distributions,
    read_predictions,
)
from ostinato.run_dir import RunDir
from ostinato.scoring.arrays import Distributions
from ostinato.scoring.calibration import Calibration
from ostinato.scoring.predictions import load_windows
from ostinato.seeding import Seeds
from ostinato.trackers import History
from ostinato.trackers.history import Point


@dataclass(frozen=True)
class RunContents:
    """What is known about a run.

    Attributes:
        run: run folder.
        config: config of the run.
        results: `results.json`; empty before the run has ended.
        provenance: `provenance.json`; empty if there is none.
        fingerprint: `fingerprint.json`; empty if there is none.
        metrics: logged points of each metric.
        labels: names of the classes.
        splits: the rows of val and test with their texts, where these rows can still be
            read and are the rows that were scored.
        predictions: predictions on val and test.
        distributions: probabilities of the classes in their rows; empty if a row has
            one label.
        windows: windows of each of these rows, if rows have windows.
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
    distributions: dict[str, Distributions]
    windows: dict[str, NDArray[np.int32]]
    calibration: Calibration | None
    summary: dict[str, Any]
    notes: list[str]

    @property
    def task(self) -> Task:
        """What a label is."""
        return self.config.data.task

    @property
    def main_split(self) -> str | None:
        """Split that the report shows: test, else val; None without predictions."""
        for name in ("test", "val"):
            if name in self.predictions:
                return name
        return None


def read_run_contents(
    run: RunDir,
    config: RunConfig,
    data: TextData | None = None,
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
    predictions = _read_all_predictions(run, config, results, splits, notes)
    distributions = read_distributions(run, predictions, splits)
    calibration = read_calibration(
        run,
        config.data.task,
        labels,
        predictions.get("val"),
        notes,
        distributions.get("val"),
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
        distributions=distributions,
        windows=_read_windows(run, predictions),
        calibration=calibration,
        summary=results.get("data") or (data.report if data else {}),
        notes=notes,
    )


def _read_all_predictions(
    run: RunDir,
    config: RunConfig,
    results: dict[str, Any],
    splits: dict[str, Split],
    notes: list[str],
) -> dict[str, Predictions]:
    """Predictions on each split that the run has scored."""
    predictions: dict[str, Predictions] = {}
    for name in ("val", "test"):
        if name not in results:
            continue
        found = read_predictions(
            run, config, name, splits.get(name), results[name], notes
        )
        if found is not None:
            predictions[name] = found
    return predictions


def _read_windows(
    run: RunDir, predictions: Mapping[str, Predictions]
) -> dict[str, NDArray[np.int32]]:
    """The windows of each row that the run has scored."""
    windows = {}
    for name, (_, labels) in predictions.items():
        with suppress(ConfigError):  # scored again; the notes say so
            found = load_windows(run.predictions(name))
            if found is not None and len(found) == len(labels):
                windows[name] = found
    return windows


def _read_record(
    run: RunDir,
    name: str,
    notes: list[str],
) -> dict[str, Any]:
    path = getattr(run, name)
    readers: dict[str, Callable[[RunDir], Any]] = {
        "results": read_results,
        "provenance": read_provenance,
        "fingerprint": read_fingerprint,
    }
    try:
        return dict(readers[name](run))
    except ConfigError:
        note = f"{path.name} is {'damaged' if path.is_file() else 'missing'}"
        if name == "results":
            note += "; the run has not ended, or it was killed"
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
    data: TextData | None,
    provenance: dict[str, Any],
    notes: list[str],
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
