"""Writes to an MLflow database in the run folder, or to an MLflow server.

A resumed run continues the same MLflow run. A sweep is a parent run, and its jobs are
child runs. MLflow cannot remove values: steps that are computed again after a crash
occur twice in its history, with the same values.
"""

import logging
import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

# MLflow reads these variables when it is imported. Its default of seven retries takes
# four minutes, and at INFO it logs the tables that it creates.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")

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

# An unreachable server is reported once, not at every retry.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)

_STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
_MAX_PARAMS = 100  # of one request


class MlflowTracker:
    """Writes parameters, scalars, plots, config, provenance; optionally the model."""

    _client: MlflowClient
    _run_id: str

    def __init__(
        self,
        cfg: MlflowConfig,
        run: RunDir,
        step: int,
    ) -> None:
        self._cfg = cfg
        self._run = run
        self._step = step
        self._home: RunDir | SweepDir = (
            run.sweep or run
        )  # jobs of a sweep share a database
        self._parent: str | None = None

    def start(self, config: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """Creates the MLflow run, or opens the one to continue."""
        experiment = self._connect()
        known = self._reopen(self._run) if self._step else None
        tags = {MLFLOW_PARENT_RUN_ID: self._parent} if self._parent else {}
        self._run_id = known or self._create(experiment, self._run, tags)
        if known is None:  # MLflow refuses to change a parameter
            self._log_params(config)
        self._client.log_dict(self._run_id, dict(config), self._run.config.name)
        self._client.log_dict(self._run_id, dict(provenance), self._run.provenance.name)

    def _connect(self) -> str:
        """Opens the database or server; creates experiment and parent run if missing.

        The lock makes sure that jobs that start together create them only once.

        Returns:
            Id of the experiment.
        """
        with FileLock(self._home.mlflow_lock):
            database = self._home.mlflow_database.absolute()
            self._client = MlflowClient(self._cfg.uri or _database_uri(database))
            experiment = self._experiment()
            sweep = self._run.sweep
            if sweep is not None:
                known = self._reopen(sweep)
                self._parent = known or self._create(experiment, sweep, {})
        return experiment

    def _log_params(self, config: Mapping[str, Any]) -> None:
        params = [Param(name, str(value)) for name, value in flat(config)]
        for first in range(0, len(params), _MAX_PARAMS):
            batch = params[first : first + _MAX_PARAMS]
            self._client.log_batch(self._run_id, params=batch)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Writes scalars in one request."""
        self._step = step
        now = round(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run_id, metrics)

    def plot(
        self,
        step: int,
        name: str,
        plot: Figure,
    ) -> None:
        """Writes a plot."""
        self._client.log_figure(self._run_id, plot, f"plots/{name}.png")

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
        """Copies a file or folder."""
        if self._cfg.artefacts and path.is_dir():
            self._client.log_artifacts(self._run_id, str(path), path.name)
        elif self._cfg.artefacts:
            self._client.log_artifact(self._run_id, str(path))

    def finish(self, status: str, final: Mapping[str, float]) -> None:
        """Writes the final metrics under `final/`, and closes the MLflow run.

        The final metrics belong to the best weights; other names show the last value.
        """
        self.log(self._step, {f"final/{name}": value for name, value in final.items()})
        self._client.set_terminated(self._run_id, _STATUS[status])
        if self._parent:  # the sweep ends with its last job
            self._client.set_terminated(self._parent)

    def _experiment(self) -> str:
        """Id of the experiment; creates it if it does not exist."""
        name = self._cfg.experiment
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        location = None
        if not self._cfg.uri:
            location = self._home.mlflow_artefacts.absolute().as_uri()
        created = self._client.create_experiment(name, artifact_location=location)
        return str(created)

    def _create(
        self,
        experiment: str,
        folder: RunDir | SweepDir,
        tags: dict[str, str],
    ) -> str:
        """Creates an MLflow run and writes its id to the folder; returns the id."""
        name = folder.path.absolute().name
        created = self._client.create_run(experiment, tags=tags, run_name=name)
        run_id = str(created.info.run_id)
        write_text(folder.tracker_id("mlflow"), run_id)
        return run_id

    def _reopen(self, folder: RunDir | SweepDir) -> str | None:
        """Reopens the MLflow run of a folder; None if there is none on the server."""
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


def _database_uri(path: Path) -> str:
    """URI of a database that can be written.

    SQLite raises an error at once if it cannot; MLflow would retry for minutes.
    """
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
    return f"sqlite:///{path}"
