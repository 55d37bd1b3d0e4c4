"""Writes every logged value as one JSON line to `metrics.jsonl`.

A line holds "step", "time" (Unix seconds), "name", "value" and "crc32".
"""

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
    """Appends lines; a resumed run continues the file after its step."""

    def __init__(self, run: RunDir, step: int) -> None:
        self._path = run.metrics
        self._step = step

    def start(self, config: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """Removes lines that the resumed run computes again."""
        entries = read_lines(self._path)
        kept = [e for e in entries if stays(e["name"], e["step"], self._step)]
        write_text(self._path, "".join(map(to_line, kept)))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Writes a line for each value."""
        now = round(time.time(), 3)
        with self._path.open("a", encoding="utf-8") as file:
            for name, value in values.items():
                entry = {"step": step, "time": now, "name": name, "value": value}
                file.write(to_line(entry))
            # The lines must be on disk before a checkpoint of this step.
            file.flush()
            os.fsync(file.fileno())

    def plot(
        self,
        step: int,
        name: str,
        plot: Figure,
    ) -> None:
        """Does nothing."""

    def pr_curves(
        self,
        step: int,
        name: str,
        scores: NDArray[np.float64],
        labels: NDArray[Any],
        names: Sequence[str],
    ) -> None:
        """Does nothing."""

    def artefact(self, path: Path) -> None:
        """Does nothing."""

    def finish(self, status: str, final: Mapping[str, float]) -> None:
        """Does nothing, because `results.json` holds the final metrics."""
