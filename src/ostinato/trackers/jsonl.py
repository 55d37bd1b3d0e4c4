"""Every logged value as one JSON line in `metrics.jsonl`: {"step", "time" (Unix seconds), "name", "value", "crc32"}."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ostinato.run_dir import RunDir
from ostinato.storage.atomic import write_text
from ostinato.trackers.history import read_lines, stays, to_line


class JsonlTracker:
    """Appends; a run that goes on continues the file after the step that it goes on from."""

    def __init__(self, run: RunDir, step: int) -> None:
        self._path = run.metrics
        self._step = step

    def start(self, config: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """Drops what was logged after the step that the run goes on from."""
        entries = read_lines(self._path)
        lines = [
            to_line(entry)
            for entry in entries
            if stays(entry["name"], entry["step"], self._step)
        ]
        write_text(self._path, "".join(lines))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Writes a line for each value."""
        now = round(time.time(), 3)
        with self._path.open("a", encoding="utf-8") as file:
            for name, value in values.items():
                file.write(
                    to_line({"step": step, "time": now, "name": name, "value": value})
                )
            file.flush()
            os.fsync(file.fileno())  # a checkpoint of this step may follow

    def plot(self, step: int, name: str, plot: Figure) -> None:
        """Pictures are no values."""

    def pr_curves(
        self,
        step: int,
        name: str,
        scores: NDArray[np.float64],
        labels: NDArray[Any],
        names: Sequence[str],
    ) -> None:
        """Curves are no values."""

    def artefact(self, path: Path) -> None:
        """Files are no values."""

    def finish(self, status: str, final: Mapping[str, float]) -> None:
        """Final metrics stand in `results.json`."""
