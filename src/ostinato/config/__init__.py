"""The typed definition of every key, with one class per group or command.

Each field is documented once, under the field. The same classes are the schema of
Hydra, the ranges that pydantic validates, the text of `--help` and the table of keys
in the README. Nothing here imports Hydra: `ostinato.cli` does.
"""

from ostinato.config.cache import CacheConfig
from ostinato.config.comparison import CompareConfig, ComparisonConfig
from ostinato.config.data import DataConfig
from ostinato.config.inference import EvaluateConfig, ExportConfig, PredictConfig
from ostinato.config.model import (
    AdapterConfig,
    ModelConfig,
    missing_adapter_package,
)
from ostinato.config.plugins import missing_plugin
from ostinato.config.proof import BenchmarkConfig, CrashTestConfig, ReproduceConfig
from ostinato.config.reference import fields
from ostinato.config.report import ReportConfig, ReportOptions
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
    AdapterMethod,
    Backend,
    Batching,
    BenchmarkMode,
    Determinism,
    Device,
    ExportFormat,
    FrozenDtype,
    Head,
    LabelWeighting,
    LossName,
    OnLeak,
    Precision,
    Schedule,
    Source,
    Task,
)

__all__ = [
    "METRICS",
    "MISSING",
    "AdapterConfig",
    "AdapterMethod",
    "Backend",
    "Batching",
    "BenchmarkConfig",
    "BenchmarkMode",
    "CacheConfig",
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
    "FrozenDtype",
    "Head",
    "JsonlConfig",
    "LabelWeighting",
    "LossName",
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
    "missing_adapter_package",
    "missing_packages",
    "missing_plugin",
]
