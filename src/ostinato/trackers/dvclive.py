"""DVCLive's plain files in `dvclive/`: metrics.json, params.yaml, a table per metric, pictures; for `dvc plots`.

It makes no DVC experiment and no dvc.yaml: docs/dvc/ shows a pipeline that names these files.
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
from ostinato.trackers.convert import image


class _Files(Live):  # type: ignore[misc]
    """DVCLive without its look for a DVC repository: finding none, it makes one in the user's git and stages it."""

    def _init_dvc(self) -> None:
        pass


class DvcliveTracker:
    """Writes config, scalars and pictures; a run that goes on continues the tables after its step."""

    _live: _Files

    def __init__(self, run: RunDir, step: int) -> None:
        self._folder = run.dvclive
        self._step = step

    def start(self, config: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """Opens the files, and drops what they hold of steps after the one that the run goes on from."""
        for table in self._folder.glob("plots/metrics/**/*.tsv"):
            _keep(table, self._step)
        self._live = _Files(
            str(self._folder),
            resume=self._step > 0,
            report=None,
            save_dvc_exp=False,
            dvcyaml=None,
        )
        self._live.log_params(dict(config))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Writes scalars; `next_step` would read all tables again at every step."""
        self._live.step = step
        for name, value in values.items():
            self._live.log_metric(name, value)
        self._live.make_summary()

    def plot(self, step: int, name: str, plot: Figure) -> None:
        """Writes a picture."""
        self._live.log_image(f"{name}.png", image(plot))

    def pr_curves(
        self,
        step: int,
        name: str,
        scores: NDArray[np.float64],
        labels: NDArray[Any],
        names: Sequence[str],
    ) -> None:
        """The picture shows them."""

    def artefact(self, path: Path) -> None:
        """A pipeline's `outs` name the run folder: DVC keeps it whole."""

    def finish(self, status: str, final: Mapping[str, float]) -> None:
        """Writes the final metrics into metrics.json, under `final`."""
        for name, value in final.items():
            self._live.log_metric(f"final/{name}", value, plot=False)
        self._live.end()


def _keep(table: Path, step: int) -> None:
    with table.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, delimiter="\t")
    at = header.index("step")
    with table.open("w", encoding="utf-8", newline="") as file:
        kept = [row for row in rows if len(row) == len(header) and int(row[at]) <= step]
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows([header, *kept])
