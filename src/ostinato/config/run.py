"""A training run's whole config."""

import dataclasses

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from ostinato.config.commands import ComparisonConfig, ReportOptions
from ostinato.config.data import DataConfig
from ostinato.config.model import ModelConfig
from ostinato.config.trackers import TrackerConfig
from ostinato.config.training import TrainingConfig
from ostinato.config.types import METRICS, STRICT, Count, Seed


@dataclass(config=STRICT, kw_only=True)
class ResumeConfig:
    """Going on with a run that was stopped."""

    run: str | None = None
    """Run folder to go on with (`resume=FOLDER` for short); `auto`: this run's own folder, if it holds a checkpoint."""
    allow_drift: bool = False
    """Go on although config, data, code or environment have changed, and record what did."""


@dataclass(config=STRICT, kw_only=True)
class SearchConfig:
    """A search over ranges (`search=optuna`)."""

    num_seeds: Count = 1
    """Runs per trial, under `seed` and the seeds after it; the trial's score is their mean."""


@dataclass(config=STRICT, kw_only=True)
class ProvenanceConfig:
    """What is recorded of the surroundings."""

    diff: bool = False
    """Store the text of uncommitted changes; it can hold passwords, and trackers get it. false stores its digest."""


@dataclass(config=STRICT, kw_only=True)
class RunConfig:
    """A training run: with the data and the environment, all that decides its result."""

    name: str = "run"
    """Name of the run: the end of its folder's name, and what trackers show."""
    seed: Seed = 42
    """Short for training.seed."""
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    """The encoder."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    """The rows."""
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    """The optimisation."""
    tracker: TrackerConfig = dataclasses.field(default_factory=TrackerConfig)
    """The observers."""
    resume: ResumeConfig = dataclasses.field(default_factory=ResumeConfig)
    """Going on with a run that was stopped."""
    compare: ComparisonConfig = dataclasses.field(default_factory=ComparisonConfig)
    """What the table at the end of a sweep compares."""
    search: SearchConfig | None = None
    """What a trial of a search is; null: no search."""
    provenance: ProvenanceConfig = dataclasses.field(default_factory=ProvenanceConfig)
    """What is recorded of the surroundings."""
    report: ReportOptions = dataclasses.field(default_factory=ReportOptions)
    """What the report at the end shows."""

    @model_validator(mode="after")
    def _holds_a_text(self) -> "RunConfig":
        tokens, longest = self.training.tokens_per_batch, self.model.max_length
        if tokens is not None and tokens < longest:
            raise ValueError(
                f"training.tokens_per_batch={tokens}: less than one text of model.max_length={longest}; take more"
            )
        return self

    @model_validator(mode="after")
    def _knows_the_monitor(self) -> "RunConfig":
        monitor, names = self.training.monitor, METRICS[self.data.task]
        if monitor is not None and monitor not in names:
            raise ValueError(
                f"training.monitor={monitor}: no metric of data.task={self.data.task.value}; take {', '.join(names)}"
            )
        return self
