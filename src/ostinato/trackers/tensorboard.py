"""TensorBoard event files in the run folder itself: one folder is one run, with its row in the HParams table."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from ostinato.config import TensorboardConfig
from ostinato.figures import indicator, most_frequent
from ostinato.run_dir import RunDir


class TensorboardTracker:
    """Writes scalars, pictures, PR curves, the config as text, and hyperparameters with the final figures."""

    def __init__(self, cfg: TensorboardConfig, run: RunDir, step: int) -> None:
        self._writer = SummaryWriter(str(run.path), purge_step=step + 1 if step else None, flush_secs=cfg.flush_secs)
        self._hparams: dict[str, bool | int | float | str] = {}

    def start(self, config: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """Writes the config as text and the row of hyperparameters."""
        self._writer.add_text("config", f"```yaml\n{yaml.safe_dump(dict(config), sort_keys=False)}```", 0)
        self._hparams = dict(_flat(config))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Writes scalars."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def figure(self, step: int, name: str, figure: Figure) -> None:
        """Writes a picture."""
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]
        self._writer.add_image(name, pixels, step, dataformats="HWC")

    def pr_curves(
        self, step: int, name: str, scores: NDArray[np.float64], labels: NDArray[Any], names: Sequence[str]
    ) -> None:
        """Writes a curve for each of the most frequent classes."""
        truth = indicator(labels, len(names))
        for number in most_frequent(truth):
            self._writer.add_pr_curve(f"{name}/{names[number]}", truth[:, number], scores[:, number], step)

    def finish(self, status: str, final: Mapping[str, float]) -> None:
        """Writes the row of hyperparameters, with the final figures as its metrics, and closes the files.

        `add_hparams` would make a second run folder; the three summaries that it writes do the same without one, and reuse
        the tags of real scalars.
        """
        shown = {"train/loss": None} if not final else dict.fromkeys(final)
        assert self._writer.file_writer is not None
        for summary in hparams(self._hparams | {"status": status}, shown):
            self._writer.file_writer.add_summary(summary)
        self._writer.close()


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, bool | int | float | str]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, bool | int | float | str):
            yield f"{prefix}{name}", value
