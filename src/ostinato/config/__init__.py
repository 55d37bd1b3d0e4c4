"""What can be configured: one typed definition per group, each field documented once, under the field.

The same classes are the schema that Hydra checks keys and types against, the ranges that pydantic validates, the
text that `--help` shows and the key table of the README. Nothing here imports Hydra: `ostinato.cli` is the door.
"""

from ostinato.config.commands import EvaluateConfig, PredictConfig, ReproduceConfig
from ostinato.config.data import DataConfig
from ostinato.config.model import ModelConfig
from ostinato.config.reference import fields
from ostinato.config.run import ResumeConfig, RunConfig
from ostinato.config.trackers import JsonlConfig, TensorboardConfig, TrackerConfig
from ostinato.config.training import EarlyStoppingConfig, SeedsConfig, TrainingConfig
from ostinato.config.types import (
    MISSING,
    Batching,
    ClassWeights,
    Determinism,
    Device,
    OnLeak,
    Precision,
    Schedule,
    Source,
    Task,
)

__all__ = [
    "MISSING",
    "Batching",
    "ClassWeights",
    "DataConfig",
    "Determinism",
    "Device",
    "EarlyStoppingConfig",
    "EvaluateConfig",
    "JsonlConfig",
    "ModelConfig",
    "OnLeak",
    "Precision",
    "PredictConfig",
    "ReproduceConfig",
    "ResumeConfig",
    "RunConfig",
    "Schedule",
    "SeedsConfig",
    "Source",
    "Task",
    "TensorboardConfig",
    "TrackerConfig",
    "TrainingConfig",
    "fields",
]
