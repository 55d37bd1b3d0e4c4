"""The typed definition of every key, with one class per group or command.

Each field is documented once, under the field. The same classes are the schema of
Hydra, the ranges that pydantic validates, the text of `--help` and the table of keys
in the README. Nothing here imports Hydra: `ostinato.cli` does.
"""

from ostinato.config.cache import CacheConfig
from ostinato.config.comparison import CompareConfig, ComparisonConfig
from ostinato.config.data import DataConfig
from ostinato.config.inference import EvaluateConfig, ExportConfig, PredictConfig
from ostinato.config.label_types import LabelWeighting
from ostinato.config.model import (
    AdapterConfig,
    ModelConfig,
    missing_adapter_package,
)
from ostinato.config.plugins import missing_plugin
from ostinato.config.proof import BenchmarkConfig, CrashTestConfig, ReproduceConfig
from ostinato.config.reference import fields
from ostinato.config.report import ReportConfig, ReportOptions
from ostinato.config.run import RayConfig, ResumeConfig, RunConfig, SearchConfig
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
from ostinato.config.training import (
    EarlyStoppingConfig,
    OptimizerConfig,
    SeedsConfig,
    TrainingConfig,
)
from ostinato.config.types import (
    DISTRIBUTION_METRICS,
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
    LongText,
    LossName,
    OnLeak,
    OptimizerName,
    Precision,
    Schedule,
    Source,
    Task,
    WindowPooling,
)

__all__ = [
    "DISTRIBUTION_METRICS",
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
    "LongText",
    "LossName",
    "MlflowConfig",
    "ModelConfig",
    "OnLeak",
    "OptimizerConfig",
    "OptimizerName",
    "Precision",
    "PredictConfig",
    "RayConfig",
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
    "WindowPooling",
    "fields",
    "missing_adapter_package",
    "missing_packages",
    "missing_plugin",
]
