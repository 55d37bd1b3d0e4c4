"""A run's material as the lines, tables and pictures of its report. Formats; the template only places them."""

import dataclasses
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ostinato.config import Task
from ostinato.errors import UserError
from ostinato.report.errors_and_groups import (
    HEADLINES,
    Group,
    Mistake,
    by_length,
    by_slice,
    mistakes,
)
from ostinato.report.material import Material
from ostinato.report.matrix import Matrix, confusions, matrix
from ostinato.report.slices import slice_values
from ostinato.report.text import (
    data_name,
    interval,
    number,
    percent,
    plain,
    shortened,
    title,
)
from ostinato.scoring.bootstrap import Estimate, estimate
from ostinato.scoring.metrics import MINIMISED
from ostinato.scoring.plots import MAX_CLASSES
from ostinato.scoring.scores import Scores, score
from ostinato.scoring.temperature import MIN_ERRORS

Row = Sequence[str]

_BASELINES = {
    Task.single_label: "majority class",
    Task.multi_label: "commonest labels",
    Task.regression: "always the mean",
}


class View:
    """What the template shows.

    Args:
        material: the run.
        slices: columns of the data to break metrics down by.
    """

    def __init__(self, material: Material, slices: list[str]) -> None:
        self.material = material
        self.labels = [plain(name) for name in material.labels]
        self.slices: dict[str, list[Row]] = {}
        for column in slices if material.main else []:
            self._slice(column)

    def _slice(self, column: str) -> None:
        m = self.material
        split = m.splits.get(self.main)
        if split is None:
            return
        try:
            values = slice_values(m.config.data, split, column)
        except UserError as error:
            m.notes.append(str(error))
            return
        self.slices[column] = self._groups(
            by_slice(m.task, *m.predictions[self.main], values)
        )

    @property
    def main(self) -> str:
        """Name of the split that counts."""
        return self.material.main or "test"

    @property
    def status(self) -> str:
        """How the run ended."""
        return str(self.material.results.get("status", "not finished"))

    @property
    def error(self) -> str:
        """What stopped the run; empty for most."""
        return plain(str(self.material.results.get("error", "")))

    def headline(self) -> str:
        """The run in a line."""
        m, results = self.material, self.material.results
        parts = [m.config.model.name, data_name(m.config.data)]
        parts += [f"seed {m.config.training.seed}"]
        parts += [
            f"{len(found[1]):,} {name} rows" for name, found in m.predictions.items()
        ]
        if "seconds" in results:
            parts += [
                f"{results['started'][:16].replace('T', ' ')} UTC",
                f"{results['seconds']:,.0f} s",
            ]
        return plain(" · ".join(parts))

    @property
    def notes(self) -> list[str]:
        """What is missing or odd."""
        return [plain(note) for note in self.material.notes]

    @cached_property
    def scores(self) -> dict[str, Scores]:
        """Metrics of each split that has predictions."""
        m = self.material
        return {
            name: score(m.task, *found, m.labels)
            for name, found in m.predictions.items()
        }

    @cached_property
    def scaled(self) -> dict[str, Scores]:
        """The same at the fitted temperature and thresholds; empty where nothing can be calibrated."""
        m, calibration = self.material, self.material.calibration
        if calibration is None:
            return {}
        cuts: Any = (
            np.asarray(calibration.thresholds) if calibration.thresholds else 0.5
        )
        return {
            name: score(m.task, calibration.scaled(logits), labels, m.labels, cuts)
            for name, (logits, labels) in m.predictions.items()
        }

    @cached_property
    def estimates(self) -> dict[str, dict[str, Estimate]]:
        """Metrics with their intervals."""
        return {
            name: estimate(self.material.task, *found)
            for name, found in self.material.predictions.items()
        }

    def tiles(self) -> list[tuple[str, str, str]]:
        """The metrics that one looks for first: name, value, what to hold it against."""
        if self.material.main is None:
            return []
        tiles = []
        for name in HEADLINES[self.material.task]:
            found, majority = (
                self.estimates[self.main][name],
                self.scores[self.main].majority.get(name),
            )
            beside = f"{interval(found)}" + (
                ""
                if majority is None
                else f", {_BASELINES[self.material.task]} {number(majority)}"
            )
            tiles.append((f"{self.main} {title(name)}", number(found.value), beside))
        calibration = self.material.calibration
        if calibration is not None and calibration.ece is not None:
            before, after = (
                side[self.main].metrics["ece"] for side in (self.scores, self.scaled)
            )
            tiles.append(
                (
                    f"{self.main} calibration error",
                    number(after),
                    f"{number(before)} before scaling",
                )
            )
        return tiles

    def metrics(self) -> list[Row]:
        """Each metric on each split with its interval, and the majority class."""
        splits = list(self.scores)[::-1]
        rows: list[Row] = []
        for name in self.scores[self.main].metrics if splits else ():
            cells = [title(name) + (" ↓" if name in MINIMISED else "")]
            for split in splits:
                value, found = (
                    self.scores[split].metrics.get(name),
                    self.estimates[split].get(name),
                )
                cells += [
                    number(value),
                    interval(found),
                    number(self.scores[split].majority.get(name)),
                ]
            rows.append(cells)
        return rows

    def metric_columns(self) -> Row:
        """Head of `metrics`."""
        baseline = _BASELINES[self.material.task]
        splits = [
            cell
            for split in list(self.scores)[::-1]
            for cell in (split, "95 % interval", baseline)
        ]
        return ["metric", *splits]

    def matrix(self) -> Matrix | None:
        """The confusion matrix; single-label only."""
        scores = self.scores.get(self.main)
        drawn = (
            scores is not None
            and scores.confusion is not None
            and len(self.labels) <= MAX_CLASSES
        )
        return (
            matrix(scores.confusion, self.labels)
            if scores and drawn and scores.confusion is not None
            else None
        )

    def confusions(self) -> list[Row]:
        """The most frequent confusions."""
        scores = self.scores.get(self.main)
        if scores is None or scores.confusion is None:
            return []
        return [
            (a, b, f"{n:,}", percent(share))
            for a, b, n, share in confusions(scores.confusion, self.labels)
        ]

    def per_class(self) -> list[Row]:
        """Metrics of each class, the weakest first."""
        counts = (
            self.material.summary.get("read", {})
            .get("train", {})
            .get("label_counts", {})
        )
        thresholds = dict(
            zip(self.material.labels, self._thresholds() or (), strict=False)
        )
        classes = sorted(
            self.scores[self.main].per_class.items(),
            key=lambda item: (item[1]["f1"], item[0]),
        )
        return [
            [
                plain(name),
                f"{counts[name]:,}" if name in counts else "–",
                f"{row['support']:,}",
                *(
                    number(row.get(metric), 3)
                    for metric in ("precision", "recall", "f1", "auroc")
                ),
                *(
                    [
                        number(row.get("average_precision"), 3),
                        number(thresholds.get(name), 3),
                    ]
                    if thresholds
                    else []
                ),
            ]
            for name, row in classes
        ]

    def class_columns(self) -> Row:
        """Head of `per_class`."""
        more = ["average precision", "tuned threshold"] if self._thresholds() else []
        return [
            "class",
            "train rows",
            f"{self.main} rows",
            "precision",
            "recall",
            "F1",
            "AUROC",
            *more,
        ]

    def _thresholds(self) -> tuple[float, ...] | None:
        calibration = self.material.calibration
        return calibration.thresholds if calibration else None

    def calibration_note(self) -> str:
        """What was fitted, on what."""
        fitted = self.material.calibration
        assert fitted is not None
        text = f"Temperature {number(fitted.temperature)}"
        if fitted.thresholds:
            text += ", and a threshold for each label with the best F1,"
        text += f" fitted on {fitted.num_rows:,} validation rows alone."
        if fitted.temperature == 1:
            text += f" These rows decide no other one; a lower one needs {MIN_ERRORS} errors."
        return f"{text} Predict with it: calibrated=true."

    def calibration(self) -> list[Row]:
        """Metrics before and after scaling and tuning, on each split."""
        task = self.material.task
        rows: list[Row] = []
        for name, scaled in self.scaled.items():
            before, after = self.scores[name].metrics, scaled.metrics
            metrics = (
                ("loss", "ece", "brier")
                if task is Task.single_label
                else (f for f in after if f != "map")
            )
            rows += [
                [name, title(f), number(before.get(f)), number(after.get(f))]
                for f in metrics
            ]
        return rows

    def mistakes(self) -> list[Mistake]:
        """The most confident errors, texts cut to what can be read."""
        split = self.material.splits.get(self.main)
        if split is None or self.material.main is None:
            return []
        m = self.material
        found = mistakes(
            m.task, *m.predictions[self.main], self.labels, split, m.calibration
        )
        return [
            dataclasses.replace(
                item, texts=tuple(shortened(plain(text)) for text in item.texts)
            )
            for item in found
        ]

    def confidence(self, mistake: Mistake) -> str:
        """How sure the model was, or how far off."""
        value = mistake.confidence
        return (
            f"off by {number(value)}"
            if self.material.task is Task.regression
            else f"probability {value:.4f}"
        )

    def lengths(self) -> list[Row]:
        """Metrics by length of the text."""
        split = self.material.splits.get(self.main)
        if split is None or self.material.main is None:
            return []
        return self._groups(
            by_length(self.material.task, *self.material.predictions[self.main], split)
        )

    def group_columns(self, first: str) -> Row:
        """Head of `lengths` and `slices`."""
        metrics = [
            cell
            for name in HEADLINES[self.material.task]
            for cell in (title(name), "95 % interval")
        ]
        return [first, "rows", *metrics]

    def _groups(self, groups: Iterable[Group]) -> list[Row]:
        return [
            [
                plain(g.name),
                f"{g.num_rows:,}",
                *(
                    c
                    for e in g.metrics.values()
                    for c in (number(e.value), interval(e))
                ),
            ]
            for g in groups
        ]
