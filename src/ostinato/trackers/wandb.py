"""Writes to Weights & Biases: offline into the run folder, or online.

The name of the W&B run is the name of the run folder. The jobs of a sweep form a group.
A resumed run keeps its W&B id. No console output is sent. `wandb sync` uploads offline
runs.
"""

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# W&B reads the first variable when it is imported, and needs the second because
# artefacts ignore the settings.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
os.environ.setdefault("WANDB_SILENT", "true")

import numpy as np
import wandb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ostinato.config import WandbConfig, WandbMode
from ostinato.run_dir import RunDir
from ostinato.storage.atomic import write_text
from ostinato.trackers.convert import image
from ostinato.trackers.tracker import UPLOAD_FACTOR

_TIMEOUT_SHARE = 0.8  # W&B must time out first, else it delays the end of the process


class WandbTracker:
    """Writes config, provenance, scalars, plots, and optionally model and report."""

    _wandb: Any

    def __init__(
        self,
        cfg: WandbConfig,
        run: RunDir,
        step: int,
        timeout: int,
    ) -> None:
        self._cfg = cfg
        self._run = run
        self._step = step
        wandb_timeout = _TIMEOUT_SHARE * timeout
        self._settings = wandb.Settings(
            console="off",
            silent=True,
            init_timeout=wandb_timeout,
            finish_timeout=wandb_timeout * UPLOAD_FACTOR,
            finish_timeout_raises=True,
        )

    def start(self, config: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """Opens the W&B run; a resumed run has the same id as before."""
        if self._cfg.mode is WandbMode.offline:
            # Otherwise W&B writes its log to the home folder.
            cache = self._run.path / "wandb" / "cache"
            os.environ.setdefault("WANDB_CACHE_DIR", str(cache))
        id_file = self._run.tracker_id("wandb")
        if self._step == 0 or not id_file.is_file():
            write_text(id_file, uuid.uuid4().hex[:12])
        facts = dict(provenance)
        facts.pop("packages", None)  # W&B lists them itself
        self._wandb = wandb.init(
            project=self._cfg.project,
            entity=self._cfg.entity,
            dir=str(self._run.path),
            mode=self._cfg.mode.value,
            id=id_file.read_text(encoding="utf-8"),
            resume="allow",
            name=self._run.path.absolute().name,
            group=self._run.sweep.path.name if self._run.sweep else None,
            config={**config, "provenance": facts},
            settings=self._settings,
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Writes scalars."""
        self._write(step, values)

    def plot(
        self,
        step: int,
        name: str,
        plot: Figure,
    ) -> None:
        """Writes a plot."""
        self._write(step, {name: wandb.Image(image(plot))})

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
        """Adds a file or folder; W&B uploads it from its place and copies nothing."""
        if not self._cfg.artefacts:
            return
        is_folder = path.is_dir()
        artefact = wandb.Artifact(
            f"{path.stem}-{self._wandb.id}", type="model" if is_folder else "report"
        )
        add = artefact.add_dir if is_folder else artefact.add_file
        add(str(path), policy="immutable")
        self._wandb.log_artifact(artefact)

    def finish(self, status: str, final: Mapping[str, float]) -> None:
        """Writes the final metrics to the summary under `final/`, and closes the run.

        The final metrics belong to the best weights; other names show the last value.
        """
        summary = {f"final/{name}": value for name, value in final.items()}
        self._wandb.summary.update(summary)
        self._wandb.finish(exit_code=0 if status == "finished" else 1)

    def _write(self, step: int, values: Mapping[str, Any]) -> None:
        # W&B ignores a lower step; the plots of the best weights can have one.
        self._step = max(self._step, step)
        self._wandb.log(dict(values), step=self._step)
