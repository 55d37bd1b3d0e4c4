"""What a tracker is told, and how it may fail: alone, once, without consequence for the run."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

log = logging.getLogger(__name__)


class Tracker(Protocol):
    """Somebody who writes down what a run does. It only observes: it draws no random number and changes nothing."""

    def start(self, config: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """The run begins (or goes on) with this config, secrets left out."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Finite figures after an optimizer step."""

    def figure(self, step: int, name: str, figure: Figure) -> None:
        """A picture."""

    def pr_curves(
        self, step: int, name: str, scores: NDArray[np.float64], labels: NDArray[Any], names: Sequence[str]
    ) -> None:
        """Probabilities [num_rows, num_labels] and true labels, for precision-recall curves."""

    def finish(self, status: str, final: Mapping[str, float]) -> None:
        """The run ended: finished, failed or interrupted, with these final figures."""


class Trackers:
    """Several trackers as one; none is fine. One that raises is named once and dropped."""

    def __init__(self, trackers: Mapping[str, Tracker] | None = None) -> None:
        self._trackers = dict(trackers or {})

    def start(self, config: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """Tells all that the run begins."""
        self._tell(lambda tracker: tracker.start(config, provenance))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Tells all the figures after a step."""
        self._tell(lambda tracker: tracker.log(step, values))

    def figure(self, step: int, name: str, figure: Figure) -> None:
        """Shows all a picture."""
        self._tell(lambda tracker: tracker.figure(step, name, figure))

    def pr_curves(
        self, step: int, name: str, scores: NDArray[np.float64], labels: NDArray[Any], names: Sequence[str]
    ) -> None:
        """Gives all the material of precision-recall curves."""
        self._tell(lambda tracker: tracker.pr_curves(step, name, scores, labels, names))

    def finish(self, status: str, final: Mapping[str, float]) -> None:
        """Tells all that the run ended."""
        self._tell(lambda tracker: tracker.finish(status, final))

    def _tell(self, message: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                message(tracker)
            except Exception as error:
                log.warning("tracker %s failed and is left out from here on: %s: %s", name, type(error).__name__, error)
                del self._trackers[name]
