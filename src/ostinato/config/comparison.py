"""The command `compare`, and what the table at the end of a sweep compares."""

import dataclasses
from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ostinato.config.types import STRICT


@dataclass(config=STRICT, kw_only=True)
class ComparisonConfig:
    """How configurations are compared."""

    metric: str | None = None
    """Metric to compare, e.g. val/macro_f1 or test/accuracy; null takes the monitored
    validation metric.
    """
    baseline: str | None = None
    """Configuration to compare the others with: its name, or a part of it; null takes
    the first.
    """
    margin: Annotated[float, Field(ge=0)] = 0.0
    """Smallest difference that matters in practice, in the units of the metric."""


@dataclass(config=STRICT, kw_only=True)
class CompareConfig:
    """Compare configurations over their seeds, and test if differences are real."""

    runs: list[str] | None = None
    """Run folders and sweep folders; runs that differ only in seeds are one
    configuration.
    """
    table: str | None = None
    """CSV file with scores from other programs, one per row, instead of runs."""
    configuration_column: str = "configuration"
    """Column of the table with the name of the configuration."""
    sample_column: str | None = None
    """Column that shows which scores belong together, e.g. the seed; null takes `seed`
    or `sample`.
    """
    score_column: str = "score"
    """Column of the table with the score."""
    where: list[str] = dataclasses.field(default_factory=list)
    """Rows of the table to use, as column:pattern, e.g.
    where='[dataset:ag_news,split:train-8-*]'.
    """
    majority: float | None = None
    """Score of the majority class: scores in the table that are not better count as
    collapsed.
    """
    higher_is_better: bool = True
    """Whether a higher score in the table is better."""
    compare: ComparisonConfig = dataclasses.field(default_factory=ComparisonConfig)
    """How configurations are compared."""
    output: str | None = None
    """Folder for compare.json, compare.md and compare.html; null prints only."""

    @model_validator(mode="after")
    def _check(self) -> "CompareConfig":
        if (self.runs is None) == (self.table is None):
            raise ValueError(
                "runs is missing: give either runs='[outputs/a,outputs/b]' "
                "or table=scores.csv"
            )
        for condition in self.where:
            if ":" not in condition:
                raise ValueError(f"where={condition}: not of the form column:pattern")
        return self
