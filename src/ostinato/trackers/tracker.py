"""The interface of a tracker, and trackers that cannot stop or delay a run.

A tracker that fails or hangs is reported once, then disabled.
"""

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
"""A call that can upload a model may take this many times as long as others."""


class Tracker(Protocol):
    """Records what a run does. It only observes, and draws no random numbers.

    All calls of one tracker come from the same thread, which is not the main thread.
    """

    def start(self, config: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """Starts or resumes the record of a run.

        Args:
            config: resolved config, without secrets.
            provenance: content of `provenance.json`, without secrets.
        """

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Records metrics.

        Args:
            step: optimizer step.
            values: finite values by name.
        """

    def plot(
        self,
        step: int,
        name: str,
        plot: Figure,
    ) -> None:
        """Records a plot.

        Args:
            step: optimizer step.
            name: name of the plot.
            plot: the plot.
        """

    def pr_curves(
        self,
        step: int,
        name: str,
        scores: NDArray[np.float64],
        labels: NDArray[Any],
        names: Sequence[str],
    ) -> None:
        """Records precision-recall curves.

        Args:
            step: optimizer step.
            name: name of the split.
            scores: probabilities [n, C].
            labels: class ids [n] | 0 and 1 [n, C].
            names: names of the classes.
        """

    def artefact(self, path: Path) -> None:
        """Records a file or folder of a finished run: the model, the report."""

    def finish(self, status: str, final: Mapping[str, float]) -> None:
        """Ends the record of a run.

        Args:
            status: finished, failed or interrupted.
            final: final metrics by name.
        """


Maker = Callable[[], Tracker]
"""Creates a tracker, and imports its library."""

_Call = Callable[[Tracker], None]


class Trackers:
    """Calls several trackers, or none. One that raises or hangs is disabled.

    Args:
        makers: creates each tracker, by name.
        timeout: seconds that a call may take.
        history: what the run logged before it was resumed.

    Attributes:
        history: every logged metric.
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
        """Starts all trackers, with secrets masked; see `Tracker.start`."""
        config, provenance = redacted(config), redacted(provenance)
        self._call_all(lambda tracker: tracker.start(config, provenance))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Adds metrics to the history and logs them in all trackers."""
        self.history.log(step, values)
        self._call_all(lambda tracker: tracker.log(step, values))

    @property
    def record_plots(self) -> bool:
        """Whether a tracker records plots; `jsonl` holds numbers only."""
        return bool(self._workers.keys() - {"jsonl"})

    def plot(
        self,
        step: int,
        name: str,
        plot: Figure,
    ) -> None:
        """Records a plot in all trackers."""
        self._call_all(lambda tracker: tracker.plot(step, name, plot))

    def pr_curves(
        self,
        step: int,
        name: str,
        scores: NDArray[np.float64],
        labels: NDArray[Any],
        names: Sequence[str],
    ) -> None:
        """Records precision-recall curves in all trackers; see `Tracker.pr_curves`."""
        self._call_all(
            lambda tracker: tracker.pr_curves(step, name, scores, labels, names)
        )

    def artefact(self, path: Path) -> None:
        """Records a file or folder in all trackers."""
        self._call_all(lambda tracker: tracker.artefact(path), UPLOAD_FACTOR)

    def finish(self, status: str, final: Mapping[str, float]) -> None:
        """Ends the record of the run in all trackers; see `Tracker.finish`."""
        self._call_all(lambda tracker: tracker.finish(status, final), UPLOAD_FACTOR)
        for worker in self._workers.values():
            worker.end()

    def _call_all(self, call: _Call, time_factor: int = 1) -> None:
        """Calls each tracker in its thread and waits for it.

        Args:
            call: calls a method of a tracker.
            time_factor: multiplies the timeout.
        """
        timeout = self._timeout * time_factor
        for name, worker in list(self._workers.items()):
            done = worker.submit(call)
            try:
                done.result(timeout)
            except (Exception, SystemExit) as error:
                message = redact(" ".join(str(error).split()))
                reason = f"{type(error).__name__}: {message}"
                if not done.done():
                    reason = f"no answer within {timeout:g} s (tracker.timeout)"
                log.warning("tracker %s failed and is disabled: %s", name, reason)
                self._workers.pop(name).end()


class _Worker:
    """Runs one tracker in a daemon thread; the process can end while it hangs."""

    def __init__(self, make: Maker) -> None:
        self._calls: SimpleQueue[tuple[_Call, Future[None]] | None] = SimpleQueue()
        Thread(target=self._run, args=(make,), daemon=True).start()

    def submit(self, call: _Call) -> Future[None]:
        """Queues a call; the future is done when the tracker has executed it."""
        done: Future[None] = Future()
        self._calls.put((call, done))
        return done

    def end(self) -> None:
        """Ends the thread after the queued calls."""
        self._calls.put(None)

    def _run(self, make: Maker) -> None:
        tracker = None
        for call, done in iter(self._calls.get, None):
            try:
                tracker = tracker or make()
                call(tracker)
                done.set_result(None)
            except BaseException as error:  # raised again by `done.result`
                done.set_exception(error)
