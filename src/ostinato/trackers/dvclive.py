"""Writes the files of DVCLive to `dvclive/`, for `dvc plots`.

These are metrics.json, params.yaml, one table per metric, and plots. No DVC experiment
and no dvc.yaml is created: docs/dvc/ shows a pipeline that uses these files.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from dvclive import Live
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ostinato.run_dir import RunDir
from ostinato.storage.atomic import atomic_file
from ostinato.trackers.convert import image


class _Files(Live):  # type: ignore[misc]
    """DVCLive without a DVC repository.

    Without one, DVCLive would create it in the user's git repository and stage it.
    """

    def _init_dvc(self) -> None:
        pass


class DvcliveTracker:
    """Writes config, scalars and plots; a resumed run continues the tables."""

    _live: _Files

    def __init__(self, run: RunDir, step: int) -> None:
        self._folder = run.dvclive
        self._step = step

    def start(self, config: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """Opens the files, and removes steps that the resumed run computes again."""
        for table in self._folder.glob("plots/metrics/**/*.tsv"):
            _remove_later_steps(table, self._step)
        self._live = _Files(
            str(self._folder),
            resume=self._step > 0,
            report=None,
            save_dvc_exp=False,
            dvcyaml=None,
        )
        self._live.log_params(dict(config))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Writes scalars."""
        # `next_step` would read all tables at every step.
        self._live.step = step
        for name, value in values.items():
            self._live.log_metric(name, value)
        self._live.make_summary()

    def plot(
        self,
        step: int,
        name: str,
        plot: Figure,
    ) -> None:
        """Writes a plot."""
        self._live.log_image(f"{name}.png", image(plot))

    def pr_curves(
        self,
        step: int,
        name: str,
        scores: NDArray[np.float64],
        labels: NDArray[Any],
        names: Sequence[str],
    ) -> None:
        """Does nothing, because a plot shows the curves."""

    def artefact(self, path: Path) -> None:
        """Does nothing, because DVC keeps the whole run folder as an output."""

    def finish(self, status: str, final: Mapping[str, float]) -> None:
        """Writes the final metrics to metrics.json, under `final`."""
        for name, value in final.items():
            self._live.log_metric(f"final/{name}", value, plot=False)
        self._live.end()


def _remove_later_steps(table: Path, step: int) -> None:
    """Removes the rows of a table after a step, and incomplete rows."""
    with table.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, delimiter="\t")
    column = header.index("step")
    complete = [row for row in rows if len(row) == len(header)]
    kept = [row for row in complete if int(row[column]) <= step]
    with atomic_file(table, newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerows([header, *kept])
