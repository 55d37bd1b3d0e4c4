"""Computes the metrics that a report shows."""

from functools import cached_property
from typing import Any

import numpy as np

from ostinato.report.run_contents import RunContents
from ostinato.report.run_predictions import Predictions
from ostinato.report.text import plain
from ostinato.scoring.bootstrap import Estimate, estimate
from ostinato.scoring.scores import Scores, score


class RunMetrics:
    """Metrics of every split that has predictions; each is computed once.

    Attributes:
        contents: what was read from the run folder.
        labels: names of the classes, safe to show.
    """

    def __init__(self, contents: RunContents) -> None:
        self.contents = contents
        self.labels = [plain(name) for name in contents.labels]

    @property
    def main_split(self) -> str:
        """Split that the report shows; `test` if nothing was scored."""
        return self.contents.main_split or "test"

    @property
    def main_predictions(self) -> Predictions:
        """Predictions on the main split."""
        return self.contents.predictions[self.main_split]

    @cached_property
    def scores(self) -> dict[str, Scores]:
        """Metrics of each split."""
        scores = {}
        for name, (logits, labels) in self.contents.predictions.items():
            scores[name] = score(
                self.contents.task,
                logits,
                labels,
                self.contents.labels,
                distributions=self.contents.distributions.get(name),
            )
        return scores

    @cached_property
    def calibrated_scores(self) -> dict[str, Scores]:
        """Metrics of each split after calibration; empty without a calibration."""
        calibration = self.contents.calibration
        if calibration is None:
            return {}
        thresholds: Any = 0.5
        if calibration.thresholds:
            thresholds = np.asarray(calibration.thresholds)
        scores = {}
        for name, (logits, labels) in self.contents.predictions.items():
            scores[name] = score(
                self.contents.task,
                calibration.scaled(logits),
                labels,
                self.contents.labels,
                thresholds,
                self.contents.distributions.get(name),
            )
        return scores

    @cached_property
    def estimates(self) -> dict[str, dict[str, Estimate]]:
        """Metrics of each split with their intervals."""
        estimates = {}
        for name, (logits, labels) in self.contents.predictions.items():
            distributions = self.contents.distributions.get(name)
            estimates[name] = estimate(
                self.contents.task, logits, labels, distributions=distributions
            )
        return estimates
