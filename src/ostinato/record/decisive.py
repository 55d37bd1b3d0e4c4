"""The part of a config that decides the result of a run."""

from collections.abc import Mapping
from typing import Any

# Keys that only observe: their values cannot change a weight or a metric.
OBSERVERS = (
    "name",
    "tracker",
    "resume",
    "compare",
    "report",
    "provenance",
    "search",
    "ray",
    "training.log_every",
    "training.checkpoint_every",
    "training.keep_checkpoints",
    "training.processes",
    "training.shard_optimizer",
    "training.process_timeout",
    "data.num_workers",
)

# Keys that earlier versions did not have. With this value, a run is what it was.
_UNNAMED_BEFORE = {
    "data.weight_column": None,
    "data.label_distribution": None,
    "data.long_text": "truncate",
    "data.stride": 0,
    "data.max_windows": None,
    "data.window_pooling": "mean",
    "model.adapter": None,
    "model.dtype": None,
}


def without_observers(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Keeps the part of a config that decides the result.

    Args:
        config: a resolved config, or a section of one.
        prefix: the section's key and a dot; empty for a whole config.

    Returns:
        A copy without the keys of `OBSERVERS`, and without unnamed defaults.
    """
    kept: dict[str, Any] = {}
    for name, value in config.items():
        key = f"{prefix}{name}"
        if key in OBSERVERS or _is_unnamed_default(key, value):
            continue
        if isinstance(value, Mapping):
            kept[name] = without_observers(value, f"{key}.")
        else:
            kept[name] = value
    return kept


def _is_unnamed_default(key: str, value: Any) -> bool:
    """Whether earlier versions did the same without this key."""
    if key == "training.optimizer" and isinstance(value, Mapping):
        return value.get("name") == "adamw"  # its options are those of others
    return key in _UNNAMED_BEFORE and value == _UNNAMED_BEFORE[key]
