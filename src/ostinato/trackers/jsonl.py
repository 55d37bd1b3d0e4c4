"""Every logged value as one JSON line in `metrics.jsonl`: {"step", "time" (Unix seconds), "name", "value"}."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ostinato.atomic import write_text
from ostinato.run_dir import RunDir


class JsonlTracker:
    """Appends; a run that goes on continues the file after the step that it goes on from."""

    def __init__(self, run: RunDir, step: int) -> None:
        self._path = run.metrics
        self._step = step

    def start(self, config: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """Drops what was logged after the step that the run goes on from."""
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.is_file() else []
        write_text(self._path, "".join(f"{line}\n" for line in lines if self._holds(line)))

    def _holds(self, line: str) -> bool:
        try:
            return bool(json.loads(line)["step"] <= self._step)
        except (ValueError, KeyError, TypeError):
            return False  # cut off when the run was killed

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Writes a line for each value."""
        now = round(time.time(), 3)
        with self._path.open("a", encoding="utf-8") as file:
            for name, value in values.items():
                line = {"step": step, "time": now, "name": name, "value": value}
                file.write(json.dumps(line, allow_nan=False) + "\n")

    def figure(self, step: int, name: str, figure: Figure) -> None:
        """Pictures are no values."""

    def pr_curves(
        self, step: int, name: str, scores: NDArray[np.float64], labels: NDArray[Any], names: Sequence[str]
    ) -> None:
        """Curves are no values."""

    def artefact(self, path: Path) -> None:
        """Files are no values."""

    def finish(self, status: str, final: Mapping[str, float]) -> None:
        """Final figures stand in `results.json`."""
