"""The `tracker` group, with one class per tracker."""

from enum import Enum
from importlib.util import find_spec

from pydantic.dataclasses import dataclass

from ostinato.config.types import STRICT, Count


class WandbMode(str, Enum):
    """Where W&B writes."""

    offline = "offline"
    online = "online"


@dataclass(config=STRICT, kw_only=True)
class TensorboardConfig:
    """TensorBoard event files in the run folder itself."""

    flush_secs: Count = 10
    """Seconds between two writes to disk."""


@dataclass(config=STRICT, kw_only=True)
class JsonlConfig:
    """Every logged value as one JSON line in `metrics.jsonl`."""


@dataclass(config=STRICT, kw_only=True)
class MlflowConfig:
    """MLflow, in a database in the run folder or on a server."""

    uri: str | None = None
    """Tracking server; null uses `mlflow.db` and `mlartifacts` in the run folder, or in
    the folder of the sweep.
    """
    experiment: str = "ostinato"
    """Experiment of the run."""
    artefacts: bool = True
    """Copy the trained model and the report as well."""


@dataclass(config=STRICT, kw_only=True)
class WandbConfig:
    """Weights & Biases."""

    mode: WandbMode = WandbMode.offline
    """offline writes to the run folder, for `wandb sync`; online also sends the data
    and needs WANDB_API_KEY.
    """
    project: str = "ostinato"
    """Project of the run."""
    entity: str | None = None
    """Team or user; null takes your default."""
    artefacts: bool = True
    """Send the trained model and the report as well; offline mode records them, and
    `wandb sync` sends them.
    """


@dataclass(config=STRICT, kw_only=True)
class DvcliveConfig:
    """DVCLive's metrics and plots files, in `dvclive/` in the run folder."""


@dataclass(config=STRICT, kw_only=True)
class TrackerConfig:
    """The trackers, chosen by `tracker=[tensorboard,jsonl]`.

    A tracker never changes a result.
    """

    tensorboard: TensorboardConfig | None = None
    """TensorBoard event files; null: none."""
    jsonl: JsonlConfig | None = None
    """`metrics.jsonl`; null: none."""
    mlflow: MlflowConfig | None = None
    """MLflow; null: none."""
    wandb: WandbConfig | None = None
    """Weights & Biases; null: none."""
    dvclive: DvcliveConfig | None = None
    """DVCLive; null: none."""
    timeout: Count = 60
    """Seconds that a tracker may take for one call, and ten times as many for an
    upload; then it is disabled.
    """


def missing_packages(cfg: TrackerConfig) -> list[str]:
    """Checks that the packages of the chosen trackers are installed.

    Returns:
        One line with the remedy for each package that is missing.
    """
    trackers = {"mlflow": cfg.mlflow, "wandb": cfg.wandb, "dvclive": cfg.dvclive}
    problems = []
    for name, options in trackers.items():
        if options is not None and find_spec(name) is None:
            problems.append(f"tracker={name}: needs pip install 'ostinato[{name}]'")
    return problems
