"""TensorBoard event files in the run folder itself: one folder is one run, with its row in the HParams table."""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from torch.utils.tensorboard import SummaryWriter

from ostinato.config import TensorboardConfig
from ostinato.run_dir import RunDir
from ostinato.scoring.plots import indicator, most_frequent
from ostinato.trackers.convert import flat

log = logging.getLogger(__name__)
_print_traceback = threading.excepthook


class TensorboardTracker:
    """Writes scalars, pictures, PR curves, config and provenance as text, and hyperparameters with the final metrics.

    `SummaryWriter.add_hparams` would make a second run folder, so the summaries of a session are written one by one.
    That of the experiment stays out: TensorBoard would take the columns of every run from the first one it finds.
    Without any, it collects them from all runs, those that differ first.
    """

    _writer: SummaryWriter

    def __init__(self, cfg: TensorboardConfig, run: RunDir, step: int) -> None:
        self._cfg = cfg
        self._run = run
        self._step = step

    def start(self, config: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """Opens the event file; writes config and provenance as text, and the hyperparameters."""
        goes_on = any(
            self._run.path.glob("events.out.tfevents.*")
        )  # also from step 0: killed before a checkpoint
        purge = self._step + 1 if goes_on else None
        self._writer = SummaryWriter(
            str(self._run.path), purge_step=purge, flush_secs=self._cfg.flush_secs
        )
        for name, value in (("config", config), ("provenance", provenance)):
            self._writer.add_text(
                name,
                f"```yaml\n{yaml.safe_dump(dict(value), sort_keys=False)}```",
                self._step,
            )
        self._add(
            hparams_pb(dict(flat(config)), trial_id="")
        )  # no trial: a row for each folder, under its name

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Writes scalars."""
        self._step = step
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def plot(self, step: int, name: str, plot: Figure) -> None:
        """Writes a picture."""
        self._writer.add_figure(name, plot, step, close=False)

    def pr_curves(
        self,
        step: int,
        name: str,
        scores: NDArray[np.float64],
        labels: NDArray[Any],
        names: Sequence[str],
    ) -> None:
        """Writes a curve for each of the most frequent classes."""
        truth = indicator(labels, len(names))
        for number in most_frequent(truth):
            self._writer.add_pr_curve(
                f"{name}/pr/{names[number]}", truth[:, number], scores[:, number], step
            )

    def artefact(self, path: Path) -> None:
        """The event file lies beside it."""

    def finish(self, status: str, final: Mapping[str, float]) -> None:
        """Writes the final metrics under `final/`, for the HParams table, and closes the file.

        Under names of their own, because the table shows a scalar's last value: that of `val/accuracy` need not be the
        best weights'.
        """
        self.log(self._step, {f"final/{name}": value for name, value in final.items()})
        if (
            status == "finished"
        ):  # another end would stand for ever: the first counts, and a failed run may go on
            self._add(_session_end())
        self._writer.close()

    def _add(self, summary: Summary) -> None:
        assert self._writer.file_writer is not None
        self._writer.file_writer.add_summary(summary)


def _name_in_one_line(failed: threading.ExceptHookArgs) -> None:
    """Shows an error of TensorBoard's own thread, e.g. a full disk, without the traceback."""
    if type(failed.thread).__module__.startswith("tensorboard."):
        log.warning("the event file could not be written: %s", failed.exc_value)
    else:
        _print_traceback(failed)


threading.excepthook = _name_in_one_line


def _session_end() -> Summary:
    end = plugin_data_pb2.SessionEndInfo(
        status=api_pb2.STATUS_SUCCESS, end_time_secs=time.time()
    )
    info = plugin_data_pb2.HParamsPluginData(session_end_info=end)
    tag, content = metadata.SESSION_END_INFO_TAG, metadata.create_summary_metadata(info)
    return Summary(
        value=[Summary.Value(tag=tag, metadata=content, tensor=metadata.NULL_TENSOR)]
    )
