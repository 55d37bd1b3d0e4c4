"""What a tracker is told, and how it may fail or hang: alone, once, without consequence for the run."""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ostinato.redaction import redact, redacted
from ostinato.trackers.history import History

log = logging.getLogger(__name__)

UPLOAD_FACTOR = 10
"""A call that may send a model may take this many times as long."""


class Tracker(Protocol):
    """Somebody who writes down what a run does. It only observes: it draws no random number and changes nothing.

    All calls of one tracker come from one thread, which is not the main one.
    """

    def start(self, config: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """The run begins (or goes on) with this config, secrets left out."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Finite metrics after an optimizer step."""

    def plot(self, step: int, name: str, plot: Figure) -> None:
        """A picture."""

    def pr_curves(
        self,
        step: int,
        name: str,
        scores: NDArray[np.float64],
        labels: NDArray[Any],
        names: Sequence[str],
    ) -> None:
        """Probabilities [num_rows, num_labels] and true labels, for precision-recall curves."""

    def artefact(self, path: Path) -> None:
        """A file or folder that the finished run leaves: the trained model, the report."""

    def finish(self, status: str, final: Mapping[str, float]) -> None:
        """The run ended: finished, failed or interrupted, with these final metrics."""


Maker = Callable[[], Tracker]
"""Makes a tracker; importing its library may be a part of it."""


class Trackers:
    """Several trackers as one; none is fine. One that raises or hangs is named once and dropped.

    Args:
        makers: what makes each tracker, by name.
        timeout: seconds that a call may take.
        history: what the run logged before it was resumed.

    Attributes:
        history: every logged metric, whoever else is told.
    """

    def __init__(
        self,
        makers: Mapping[str, Maker] | None = None,
        timeout: float = 60,
        history: History | None = None,
    ) -> None:
        self.history = history or History()
        self._timeout = timeout
        self._workers = {name: _Worker(maker) for name, maker in (makers or {}).items()}

    def start(self, config: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """Tells all that the run begins; secrets are masked in what they get."""
        config, provenance = redacted(config), redacted(provenance)
        self._tell(lambda tracker: tracker.start(config, provenance))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Tells all the metrics after a step."""
        self.history.log(step, values)
        self._tell(lambda tracker: tracker.log(step, values))

    def plot(self, step: int, name: str, plot: Figure) -> None:
        """Shows all a picture."""
        self._tell(lambda tracker: tracker.plot(step, name, plot))

    def pr_curves(
        self,
        step: int,
        name: str,
        scores: NDArray[np.float64],
        labels: NDArray[Any],
        names: Sequence[str],
    ) -> None:
        """Gives all the material of precision-recall curves."""
        self._tell(lambda tracker: tracker.pr_curves(step, name, scores, labels, names))

    def artefact(self, path: Path) -> None:
        """Gives all a file or folder."""
        self._tell(lambda tracker: tracker.artefact(path), patience=UPLOAD_FACTOR)

    def finish(self, status: str, final: Mapping[str, float]) -> None:
        """Tells all that the run ended."""
        self._tell(
            lambda tracker: tracker.finish(status, final), patience=UPLOAD_FACTOR
        )
        for worker in self._workers.values():
            worker.end()

    def _tell(self, message: Callable[[Tracker], None], patience: int = 1) -> None:
        for name, worker in list(self._workers.items()):
            answer = worker.tell(message)
            try:
                answer.result(self._timeout * patience)
            except (Exception, SystemExit) as error:
                reason = (
                    f"{type(error).__name__}: {redact(' '.join(str(error).split()))}"
                )
                if not answer.done():
                    reason = f"no answer within {self._timeout * patience:g} s (tracker.timeout)"
                log.warning(
                    "tracker %s failed and is left out from here on: %s", name, reason
                )
                self._workers.pop(name).end()


class _Worker:
    """One tracker in a thread of its own. The process does not wait for a thread that hangs: it is a daemon."""

    def __init__(self, make: Maker) -> None:
        self._calls: SimpleQueue[
            tuple[Callable[[Tracker], None], Future[None]] | None
        ] = SimpleQueue()
        Thread(target=self._serve, args=(make,), daemon=True).start()

    def tell(self, message: Callable[[Tracker], None]) -> Future[None]:
        """Hands a message over; the future answers when the tracker has taken it."""
        answer: Future[None] = Future()
        self._calls.put((message, answer))
        return answer

    def end(self) -> None:
        """Lets the thread end after the messages that it has."""
        self._calls.put(None)

    def _serve(self, make: Maker) -> None:
        tracker = None
        for message, answer in iter(self._calls.get, None):
            try:
                tracker = tracker or make()
                message(tracker)
                answer.set_result(None)
            except BaseException as error:  # the other thread judges
                answer.set_exception(error)
