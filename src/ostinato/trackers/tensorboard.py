"""Writes TensorBoard event files to the run folder.

Each folder is one TensorBoard run, with one row in the HParams table.
"""

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
_default_excepthook = threading.excepthook


class TensorboardTracker:
    """Writes scalars, plots, PR curves, config, provenance and hyperparameters.

    `SummaryWriter.add_hparams` would create a second run folder, so the summaries of a
    session are written directly. No experiment summary is written, because TensorBoard
    would take the columns of every run from the first one. Without any, it
    collects the columns from all runs and shows those that differ first.
    """

    _writer: SummaryWriter

    def __init__(
        self,
        cfg: TensorboardConfig,
        run: RunDir,
        step: int,
    ) -> None:
        self._cfg = cfg
        self._run = run
        self._step = step

    def start(self, config: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """Opens the event file; writes config, provenance and hyperparameters."""
        # Event files can exist at step 0: the run was killed before a checkpoint.
        is_resumed = any(self._run.path.glob("events.out.tfevents.*"))
        self._writer = SummaryWriter(
            str(self._run.path),
            purge_step=self._step + 1 if is_resumed else None,
            flush_secs=self._cfg.flush_secs,
        )
        for name, value in (("config", config), ("provenance", provenance)):
            text = yaml.safe_dump(dict(value), sort_keys=False)
            self._writer.add_text(name, f"```yaml\n{text}```", self._step)
        # Without a trial id, the row in the table has the name of the folder.
        self._add(hparams_pb(dict(flat(config)), trial_id=""))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Writes scalars."""
        self._step = step
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def plot(
        self,
        step: int,
        name: str,
        plot: Figure,
    ) -> None:
        """Writes a plot."""
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
            tag = f"{name}/pr/{names[number]}"
            self._writer.add_pr_curve(
                tag,
                truth[:, number],
                scores[:, number],
                step,
            )

    def artefact(self, path: Path) -> None:
        """Does nothing, because the event file is in the same folder."""

    def finish(self, status: str, final: Mapping[str, float]) -> None:
        """Writes the final metrics under `final/`, and closes the file.

        The HParams table shows the last value of a scalar. The last `val/accuracy` can
        differ from that of the best weights, so the final metrics have other names.
        """
        self.log(self._step, {f"final/{name}": value for name, value in final.items()})
        # TensorBoard uses the first end that it finds, and a failed run can be resumed.
        if status == "finished":
            self._add(_session_end())
        self._writer.close()

    def _add(self, summary: Summary) -> None:
        assert self._writer.file_writer is not None
        self._writer.file_writer.add_summary(summary)


def _log_writer_error(failed: threading.ExceptHookArgs) -> None:
    """Logs an error of TensorBoard's thread (e.g. a full disk) without a traceback."""
    if type(failed.thread).__module__.startswith("tensorboard."):
        log.warning("the event file could not be written: %s", failed.exc_value)
    else:
        _default_excepthook(failed)


threading.excepthook = _log_writer_error


def _session_end() -> Summary:
    end = plugin_data_pb2.SessionEndInfo(
        status=api_pb2.STATUS_SUCCESS, end_time_secs=time.time()
    )
    info = plugin_data_pb2.HParamsPluginData(session_end_info=end)
    value = Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(info),
        tensor=metadata.NULL_TENSOR,
    )
    return Summary(value=[value])
