"""The whole config of a training run."""

import dataclasses
from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ostinato.config.comparison import ComparisonConfig
from ostinato.config.data import DataConfig
from ostinato.config.model import ModelConfig
from ostinato.config.report import ReportOptions
from ostinato.config.trackers import TrackerConfig
from ostinato.config.training import TrainingConfig
from ostinato.config.types import (
    DISTRIBUTION_METRICS,
    METRICS,
    STRICT,
    Count,
    LongText,
    LossName,
    Precision,
    Seed,
)


@dataclass(config=STRICT, kw_only=True)
class ResumeConfig:
    """How to resume a run that was stopped."""

    run: str | None = None
    """Run folder to resume (`resume=FOLDER` for short); `auto` resumes this run's own
    folder if it has a checkpoint.
    """
    allow_drift: bool = False
    """Resume although config, data, code or environment have changed, and record the
    changes.
    """


@dataclass(config=STRICT, kw_only=True)
class SearchConfig:
    """A search over ranges (`search=optuna`)."""

    num_seeds: Count = 1
    """Runs per trial, with `seed` and the seeds after it; the trial's score is their
    mean.
    """


@dataclass(config=STRICT, kw_only=True)
class RayConfig:
    """The processes of a job on a Ray cluster (`launcher=ray`)."""

    cpus_per_process: Annotated[float, Field(gt=0)] = 1
    """CPUs of each process, which are also its threads."""
    gpus_per_process: Annotated[float, Field(ge=0, le=1)] = 0
    """GPUs of each process. Several jobs of one process can share a GPU."""
    wait_for_nodes: bool = False
    """Wait for nodes if the cluster has no room for a job, because nodes will join.
    false ends such a job, unless it has begun.
    """


@dataclass(config=STRICT, kw_only=True)
class ProvenanceConfig:
    """What a run records about its code."""

    diff: bool = False
    """Store the text of uncommitted changes. It can contain passwords, and trackers
    receive it. false stores a digest.
    """


@dataclass(config=STRICT, kw_only=True)
class RunConfig:
    """Fine-tune a sequence classifier."""

    name: str = "run"
    """Name of the run: the end of its folder's name, and the name in trackers."""
    seed: Seed = 42
    """Short for training.seed."""
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    """The model."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    """The dataset."""
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    """The optimization."""
    tracker: TrackerConfig = dataclasses.field(default_factory=TrackerConfig)
    """The trackers."""
    resume: ResumeConfig = dataclasses.field(default_factory=ResumeConfig)
    """How to resume a run that was stopped."""
    compare: ComparisonConfig = dataclasses.field(default_factory=ComparisonConfig)
    """What the table at the end of a sweep compares."""
    search: SearchConfig | None = None
    """A search over ranges; null: no search."""
    ray: RayConfig = dataclasses.field(default_factory=RayConfig)
    """What the processes of a job take from a Ray cluster."""
    provenance: ProvenanceConfig = dataclasses.field(default_factory=ProvenanceConfig)
    """What the run records about its code."""
    report: ReportOptions = dataclasses.field(default_factory=ReportOptions)
    """What the report at the end shows in addition."""

    @model_validator(mode="after")
    def _check_tokens_per_batch(self) -> "RunConfig":
        tokens = self.training.tokens_per_batch
        longest = self.model.max_length
        if tokens is not None and tokens < longest:
            raise ValueError(
                f"training.tokens_per_batch={tokens}: must be at least "
                f"model.max_length={longest}, so that a text fits"
            )
        return self

    @model_validator(mode="after")
    def _check_processes(self) -> "RunConfig":
        training = self.training
        size = training.processes
        if isinstance(size, int) and size > training.accumulate:
            raise ValueError(
                f"training.processes={size}: a step has fewer micro-batches "
                f"(training.accumulate={training.accumulate}); "
                f"use training.accumulate={size} or a multiple of it"
            )
        gpus = self.ray.gpus_per_process
        if isinstance(size, int) and size > 1 and 0 < gpus < 1:
            raise ValueError(
                f"ray.gpus_per_process={gpus:g}: the processes of one job cannot share "
                "a GPU; use ray.gpus_per_process=1"
            )
        if training.shard_optimizer and training.precision is Precision.fp16:
            raise ValueError(
                "training.shard_optimizer=true: is not possible in fp16; "
                "use training.precision=bf16"
            )
        return self

    @model_validator(mode="after")
    def _check_distribution(self) -> "RunConfig":
        if self.data.label_distribution and self.training.loss is LossName.focal:
            raise ValueError(
                "training.loss=focal: is not defined for data.label_distribution; "
                "use training.loss=cross_entropy"
            )
        return self

    @model_validator(mode="after")
    def _check_compile(self) -> "RunConfig":
        if self.training.compile and self.training.gradient_checkpointing:
            raise ValueError(
                "training.gradient_checkpointing=true: is not possible with "
                "training.compile=true; use training.compile=false"
            )
        return self

    @model_validator(mode="after")
    def _check_windows(self) -> "RunConfig":
        if self.data.long_text is not LongText.windows:
            return self
        stride, longest = self.data.stride, self.model.max_length
        if stride >= longest:
            raise ValueError(
                f"data.stride={stride}: must be less than the tokens of a window "
                f"(model.max_length={longest})"
            )
        if self.training.compile:
            raise ValueError(
                "training.compile=true: is not possible with data.long_text=windows; "
                "use training.compile=false"
            )
        return self

    @model_validator(mode="after")
    def _check_dtype(self) -> "RunConfig":
        precision = self.training.precision
        is_bf16 = precision in (Precision.bf16, Precision.auto)
        if self.model.dtype is not None and not is_bf16:
            raise ValueError(
                f"model.dtype={self.model.dtype.value}: needs training.precision=bf16, "
                f"not {precision.value}"
            )
        return self

    @model_validator(mode="after")
    def _check_monitor(self) -> "RunConfig":
        monitor = self.training.monitor
        names = METRICS[self.data.task]
        if self.data.label_distribution:
            names = DISTRIBUTION_METRICS
        if monitor is not None and monitor not in names:
            task = f"data.task={self.data.task.value}"
            raise ValueError(
                f"training.monitor={monitor}: is not a metric of {task}; "
                f"use one of {', '.join(names)}"
            )
        return self
