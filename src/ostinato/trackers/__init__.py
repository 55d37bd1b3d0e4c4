"""Observers of a run: one protocol, one small file each, each vendor imported only in its own."""

from ostinato.config import TrackerConfig
from ostinato.run_dir import RunDir
from ostinato.trackers.tracker import Tracker, Trackers

__all__ = ["Tracker", "Trackers", "build"]


def build(cfg: TrackerConfig, run: RunDir, step: int = 0) -> Trackers:
    """Makes the chosen trackers; what they hold of steps after `step` is forgotten, for it is done again."""
    trackers: dict[str, Tracker] = {}
    if cfg.jsonl is not None:
        from ostinato.trackers.jsonl import JsonlTracker

        trackers["jsonl"] = JsonlTracker(run, step)
    if cfg.tensorboard is not None:
        from ostinato.trackers.tensorboard import TensorboardTracker

        trackers["tensorboard"] = TensorboardTracker(cfg.tensorboard, run, step)
    return Trackers(trackers)
