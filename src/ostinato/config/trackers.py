"""The `tracker` group: one definition per tracker."""

from pydantic.dataclasses import dataclass

from ostinato.config.types import STRICT, Count


@dataclass(config=STRICT, kw_only=True)
class TensorboardConfig:
    """TensorBoard event files in the run folder itself."""

    flush_secs: Count = 10
    """Seconds between two writes to disk."""


@dataclass(config=STRICT, kw_only=True)
class JsonlConfig:
    """Every logged value as one JSON line in `metrics.jsonl`."""


@dataclass(config=STRICT, kw_only=True)
class TrackerConfig:
    """Who is told what happens. `tracker=[tensorboard,jsonl]` picks; a tracker never changes a result."""

    tensorboard: TensorboardConfig | None = None
    """TensorBoard event files; null: none."""
    jsonl: JsonlConfig | None = None
    """`metrics.jsonl`; null: none."""
