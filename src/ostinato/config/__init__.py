"""What can be configured: one typed definition per group, each field documented once, under the field.

The same classes are the schema that Hydra checks keys and types against, the ranges that pydantic validates, the
text that `--help` shows and the key table of the README. Nothing here imports Hydra: `ostinato.cli` does.
"""

from ostinato.config.commands import (
    BenchmarkConfig,
    CacheConfig,
    CompareConfig,
    ComparisonConfig,
    CrashTestConfig,
    EvaluateConfig,
    ExportConfig,
    PredictConfig,
    ReportConfig,
    ReportOptions,
    ReproduceConfig,
)
from ostinato.config.data import DataConfig
from ostinato.config.model import ModelConfig
from ostinato.config.plugins import missing_plugin
from ostinato.config.reference import fields
from ostinato.config.run import ResumeConfig, RunConfig, SearchConfig
from ostinato.config.trackers import (
    DvcliveConfig,
    JsonlConfig,
    MlflowConfig,
    TensorboardConfig,
    TrackerConfig,
    WandbConfig,
    WandbMode,
    missing_packages,
)
from ostinato.config.training import EarlyStoppingConfig, SeedsConfig, TrainingConfig
from ostinato.config.types import (
    METRICS,
    MISSING,
    Backend,
    Batching,
    BenchmarkMode,
    ClassWeights,
    Determinism,
    Device,
    ExportFormat,
    Head,
    OnLeak,
    Precision,
    Schedule,
    Source,
    Task,
)

__all__ = [
    "METRICS",
    "MISSING",
    "Backend",
    "Batching",
    "BenchmarkConfig",
    "BenchmarkMode",
    "CacheConfig",
    "ClassWeights",
    "CompareConfig",
    "ComparisonConfig",
    "CrashTestConfig",
    "DataConfig",
    "Determinism",
    "Device",
    "DvcliveConfig",
    "EarlyStoppingConfig",
    "EvaluateConfig",
    "ExportConfig",
    "ExportFormat",
    "Head",
    "JsonlConfig",
    "MlflowConfig",
    "ModelConfig",
    "OnLeak",
    "Precision",
    "PredictConfig",
    "ReportConfig",
    "ReportOptions",
    "ReproduceConfig",
    "ResumeConfig",
    "RunConfig",
    "Schedule",
    "SearchConfig",
    "SeedsConfig",
    "Source",
    "Task",
    "TensorboardConfig",
    "TrackerConfig",
    "TrainingConfig",
    "WandbConfig",
    "WandbMode",
    "fields",
    "missing_packages",
    "missing_plugin",
]
