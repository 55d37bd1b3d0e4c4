"""MLflow: a database in the run folder, or a server. A resumed run goes on as the same MLflow run.

A sweep is a parent run with its jobs as children. MLflow can take nothing back: steps that are done again after a
crash stand twice in its history, with the same values.
"""

import logging
import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

os.environ.setdefault(
    "MLFLOW_DISABLE_TELEMETRY", "true"
)  # read once, when mlflow is imported
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # seven take four minutes
os.environ.setdefault(
    "MLFLOW_LOGGING_LEVEL", "WARNING"
)  # it tells the console of its tables

import numpy as np
from filelock import FileLock
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from numpy.typing import NDArray

from ostinato.config import MlflowConfig
from ostinato.run_dir import RunDir, SweepDir
from ostinato.storage.atomic import write_text
from ostinato.trackers.convert import flat

logging.getLogger("urllib3.connectionpool").setLevel(
    logging.ERROR
)  # a server that is away is said once, not per try
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
_BATCH = 100  # parameters that one call may hold


class MlflowTracker:
    """Writes parameters, scalars, pictures, config, provenance and, if wanted, the model and the report."""

    _client: MlflowClient
    _run_id: str

    def __init__(self, cfg: MlflowConfig, run: RunDir, step: int) -> None:
        self._cfg = cfg
        self._run = run
        self._step = step
        self._home: RunDir | SweepDir = (
            run.sweep or run
        )  # jobs of a sweep share a database
        self._parent: str | None = None

    def start(self, config: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """Opens the run, or the one that it goes on with."""
        with FileLock(
            self._home.mlflow_lock
        ):  # of two jobs that start together, one makes what they share
            self._client = MlflowClient(
                self._cfg.uri or _database(self._home.mlflow_database.absolute())
            )
            experiment = self._experiment()
            if self._run.sweep is not None:
                self._parent = self._reopen(self._run.sweep) or self._create(
                    experiment, self._run.sweep, {}
                )
        tags = {MLFLOW_PARENT_RUN_ID: self._parent} if self._parent else {}
        known = self._reopen(self._run) if self._step else None
        self._run_id = known or self._create(experiment, self._run, tags)
        if known is None:  # MLflow refuses a parameter's second value
            params = [Param(name, str(value)) for name, value in flat(config)]
            for first in range(0, len(params), _BATCH):
                self._client.log_batch(
                    self._run_id, params=params[first : first + _BATCH]
                )
        self._client.log_dict(self._run_id, dict(config), self._run.config.name)
        self._client.log_dict(self._run_id, dict(provenance), self._run.provenance.name)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Writes scalars, in one request."""
        self._step = step
        now = round(time.time() * 1000)
        self._client.log_batch(
            self._run_id,
            [Metric(name, value, now, step) for name, value in values.items()],
        )

    def plot(self, step: int, name: str, plot: Figure) -> None:
        """Writes a picture."""
        self._client.log_figure(self._run_id, plot, f"plots/{name}.png")

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
        """Copies a file or folder."""
        if self._cfg.artefacts and path.is_dir():
            self._client.log_artifacts(self._run_id, str(path), path.name)
        elif self._cfg.artefacts:
            self._client.log_artifact(self._run_id, str(path))

    def finish(self, status: str, final: Mapping[str, float]) -> None:
        """Writes the final metrics under `final/`: the best weights', while others show their last value."""
        self.log(self._step, {f"final/{name}": value for name, value in final.items()})
        self._client.set_terminated(self._run_id, _STATUS[status])
        if self._parent:
            self._client.set_terminated(
                self._parent
            )  # the last child's end is the sweep's

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(self._cfg.experiment)
        if found is not None:
            return str(found.experiment_id)
        location = (
            None if self._cfg.uri else self._home.mlflow_artefacts.absolute().as_uri()
        )
        return str(
            self._client.create_experiment(
                self._cfg.experiment, artifact_location=location
            )
        )

    def _create(
        self, experiment: str, folder: RunDir | SweepDir, tags: dict[str, str]
    ) -> str:
        name = folder.path.absolute().name
        run_id = str(
            self._client.create_run(experiment, tags=tags, run_name=name).info.run_id
        )
        write_text(folder.tracker_id("mlflow"), run_id)
        return run_id

    def _reopen(self, folder: RunDir | SweepDir) -> str | None:
        """The MLflow run that a folder had, if the server still knows it."""
        known = folder.tracker_id("mlflow")
        if not known.is_file():
            return None
        run_id = known.read_text(encoding="utf-8")
        try:
            self._client.update_run(run_id, "RUNNING")
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return run_id


def _database(path: Path) -> str:
    """Address of a database, of which SQLite says at once that it cannot be written; MLflow would try for minutes."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
    return f"sqlite:///{path}"
