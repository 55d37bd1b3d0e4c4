"""Weights & Biases: offline into the run folder, for `wandb sync`, or online. A resumed run keeps its W&B id.

The run's name is its folder's, the jobs of a sweep are a group. Nothing of the console is sent.
"""

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault(
    "WANDB_ERROR_REPORTING", "false"
)  # read once, when wandb is imported
os.environ.setdefault("WANDB_SILENT", "true")  # artefacts do not ask the settings

import numpy as np
import wandb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ostinato.config import WandbConfig, WandbMode
from ostinato.run_dir import RunDir
from ostinato.storage.atomic import write_text
from ostinato.trackers.convert import image
from ostinato.trackers.tracker import UPLOAD_FACTOR


class WandbTracker:
    """Writes config, provenance, scalars, pictures and, if wanted, the model and the report."""

    _wandb: Any

    def __init__(self, cfg: WandbConfig, run: RunDir, step: int, timeout: int) -> None:
        self._cfg = cfg
        self._run = run
        self._step = step
        patience = (
            0.8 * timeout
        )  # W&B gives up before it is given up, or it would hold up the end of the process
        self._settings = wandb.Settings(
            console="off",
            silent=True,
            init_timeout=patience,
            finish_timeout=patience * UPLOAD_FACTOR,
            finish_timeout_raises=True,
        )

    def start(self, config: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """Opens the run, under the id that it had before if it goes on."""
        if self._cfg.mode is WandbMode.offline:
            os.environ.setdefault(
                "WANDB_CACHE_DIR", str(self._run.path / "wandb" / "cache")
            )  # its own log, else at home
        known = self._run.tracker_id("wandb")
        if not (self._step and known.is_file()):
            write_text(known, uuid.uuid4().hex[:12])
        packages = {"packages"}  # W&B lists them itself
        facts = {
            name: value for name, value in provenance.items() if name not in packages
        }
        self._wandb = wandb.init(
            project=self._cfg.project,
            entity=self._cfg.entity,
            dir=str(self._run.path),
            mode=self._cfg.mode.value,
            id=known.read_text(encoding="utf-8"),
            resume="allow",
            name=self._run.path.absolute().name,
            group=self._run.sweep.path.name if self._run.sweep else None,
            config={**config, "provenance": facts},
            settings=self._settings,
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Writes scalars."""
        self._write(step, values)

    def plot(self, step: int, name: str, plot: Figure) -> None:
        """Writes a picture."""
        self._write(step, {name: wandb.Image(image(plot))})

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
        """Names a file or folder where it lies; W&B reads it there when it uploads, and copies nothing."""
        if not self._cfg.artefacts:
            return
        artefact = wandb.Artifact(
            f"{path.stem}-{self._wandb.id}", type="model" if path.is_dir() else "report"
        )
        add = artefact.add_dir if path.is_dir() else artefact.add_file
        add(str(path), policy="immutable")
        self._wandb.log_artifact(artefact)

    def finish(self, status: str, final: Mapping[str, float]) -> None:
        """Writes the final metrics into the summary, under `final/`: the best weights', while others are the last."""
        self._wandb.summary.update(
            {f"final/{name}": value for name, value in final.items()}
        )
        self._wandb.finish(exit_code=0 if status == "finished" else 1)

    def _write(self, step: int, values: Mapping[str, Any]) -> None:
        self._step = max(
            self._step, step
        )  # W&B drops what goes back; the best weights' pictures do
        self._wandb.log(dict(values), step=self._step)
