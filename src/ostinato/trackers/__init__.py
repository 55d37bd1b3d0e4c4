"""Trackers record a run: one protocol, and one file for each tracking library."""

from functools import partial

from ostinato.config import MlflowConfig, TensorboardConfig, TrackerConfig, WandbConfig
from ostinato.run_dir import RunDir
from ostinato.trackers.history import History
from ostinato.trackers.tracker import Maker, Tracker, Trackers

__all__ = ["History", "Tracker", "Trackers", "build"]


def build(
    cfg: TrackerConfig,
    run: RunDir,
    step: int = 0,
) -> Trackers:
    """Builds the chosen trackers.

    Args:
        cfg: which trackers, and their options.
        run: run folder.
        step: step from which the run is resumed. What was logged after it is removed,
            because these steps are computed again.
    """
    makers: dict[str, Maker] = {}
    if cfg.jsonl is not None:
        makers["jsonl"] = partial(_jsonl, run, step)
    if cfg.tensorboard is not None:
        makers["tensorboard"] = partial(
            _tensorboard,
            cfg.tensorboard,
            run,
            step,
        )
    if cfg.mlflow is not None:
        makers["mlflow"] = partial(_mlflow, cfg.mlflow, run, step)
    if cfg.wandb is not None:
        makers["wandb"] = partial(
            _wandb,
            cfg.wandb,
            run,
            step,
            cfg.timeout,
        )
    if cfg.dvclive is not None:
        makers["dvclive"] = partial(_dvclive, run, step)
    return Trackers(makers, cfg.timeout, History.until(run, step))


# Each maker imports its library in the thread of the tracker, where an import that
# fails or hangs does not affect the run.


def _jsonl(run: RunDir, step: int) -> Tracker:
    from ostinato.trackers.jsonl import JsonlTracker

    return JsonlTracker(run, step)


def _tensorboard(
    cfg: TensorboardConfig,
    run: RunDir,
    step: int,
) -> Tracker:
    from ostinato.trackers.tensorboard import TensorboardTracker

    return TensorboardTracker(cfg, run, step)


def _mlflow(
    cfg: MlflowConfig,
    run: RunDir,
    step: int,
) -> Tracker:
    from ostinato.trackers.mlflow import MlflowTracker

    return MlflowTracker(cfg, run, step)


def _wandb(
    cfg: WandbConfig,
    run: RunDir,
    step: int,
    timeout: int,
) -> Tracker:
    from ostinato.trackers.wandb import WandbTracker

    return WandbTracker(cfg, run, step, timeout)


def _dvclive(run: RunDir, step: int) -> Tracker:
    from ostinato.trackers.dvclive import DvcliveTracker

    return DvcliveTracker(run, step)
