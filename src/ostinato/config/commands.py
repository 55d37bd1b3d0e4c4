"""The commands that look at runs."""

import dataclasses
from typing import Annotated, Any

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ostinato.config.plugins import missing_extra
from ostinato.config.types import (
    MISSING,
    STRICT,
    Backend,
    BenchmarkMode,
    Count,
    Device,
    ExportFormat,
    Precision,
    Seed,
)


@dataclass(config=STRICT, kw_only=True)
class EvaluateConfig:
    """Score a finished run on any split or file."""

    run: str = MISSING
    """Run folder, e.g. outputs/2026-11-22/18-30-12-481000_reuters_r8_minilm."""
    split: str = "test"
    """Split of the run's own data: train, val or test."""
    path: str | None = None
    """A file or glob instead of a split, with the run's columns."""
    batch_size: Count | None = None
    """Rows per batch; null takes the run's. Another number moves metrics in the last digits."""
    device: Device = Device.auto
    """auto, cpu, cuda or mps."""
    precision: Precision = Precision.auto
    """auto takes the run's; fp32, bf16 or fp16. Another precision moves metrics in the last digits."""
    output: str | None = None
    """Write the metrics to this JSON file as well."""


@dataclass(config=STRICT, kw_only=True)
class PredictConfig:
    """Label texts with a finished run."""

    run: str = MISSING
    """Run folder, or any folder that transformers can load a sequence classifier from."""
    input: str = "-"
    """csv, tsv, json, jsonl, parquet or txt file, or a glob; `-` reads stdin: one text per line, or JSON lines."""
    output: str = "-"
    """csv or jsonl file to write, not the input; `-` writes JSON lines to stdout."""
    keep: Any = dataclasses.field(default_factory=list)
    """Columns of the input to repeat in the output, e.g. keep=[id]; keep=all repeats all."""
    csv_safe: bool = False
    """Write a single quote before text that a spreadsheet would take for a formula (csv output)."""
    text_column: str | None = None
    """Column with the text; null takes the run's."""
    text_pair_column: str | None = None
    """Column with the second text; null takes the run's."""
    batch_size: Count = 64
    """Rows per batch."""
    device: Device = Device.auto
    """auto, cpu, cuda or mps."""
    calibrated: bool = False
    """Scores at the temperature and, for multi-label, labels by the thresholds that validation gave."""
    backend: Backend = Backend.torch
    """torch; onnx or onnx_int8 take the model that scripts/export.py wrote, on the CPU."""

    @model_validator(mode="after")
    def _possible(self) -> "PredictConfig":
        if self.output != "-" and not self.output.lower().endswith((".csv", ".jsonl")):
            raise ValueError(
                f"output={self.output}: give a .csv or .jsonl file, or - for stdout"
            )
        if self.csv_safe and not self.output.lower().endswith(".csv"):
            raise ValueError(
                f"csv_safe=true: output={self.output} is not csv; give output=FILE.csv"
            )
        columns = isinstance(self.keep, list) and all(
            isinstance(name, str) for name in self.keep
        )
        if self.keep != "all" and not columns:
            raise ValueError(
                f"keep={self.keep}: give a list of columns, as keep=[id], or keep=all"
            )
        if self.backend is Backend.torch:
            return self
        choice = f"backend={self.backend.value}"
        _require(missing_extra(choice, "onnx", "onnxruntime"))
        if self.device not in (Device.auto, Device.cpu):
            raise ValueError(
                f"device={self.device.value}: {choice} computes on the CPU; take auto or cpu"
            )
        if self.calibrated and self.backend is Backend.onnx_int8:
            raise ValueError(
                "calibrated=true: was fitted to fp32 logits, not to those of int8; take backend=onnx"
            )
        return self


@dataclass(config=STRICT, kw_only=True)
class ExportConfig:
    """Write a finished run's model for programs elsewhere, or push it to the Hugging Face hub."""

    run: str = MISSING
    """Run folder."""
    format: ExportFormat = ExportFormat.onnx
    """onnx writes a model for ONNX Runtime, compared with torch; hub pushes best/ with the token in HF_TOKEN."""
    output: str | None = None
    """Folder to write (onnx); null: onnx/ in the run folder."""
    opset: Annotated[int, Field(ge=18, le=23)] = 18
    """Version of ONNX's operators; a higher one needs a newer runtime (onnx)."""
    int8: bool = False
    """Write a second model with its weights in 8 bits, a quarter of the size (onnx)."""
    repo: str | None = None
    """Repository to push to, e.g. org/name; made when it is not there (hub)."""
    private: bool = True
    """Whether a repository that has to be made is private (hub)."""

    @model_validator(mode="after")
    def _possible(self) -> "ExportConfig":
        if self.format is ExportFormat.onnx:
            _require(
                missing_extra(
                    "format=onnx", "onnx", "onnx", "onnxruntime", "onnxscript"
                )
            )
        elif self.repo is None:
            _require(
                "repo is missing: format=hub pushes to a repository of the hub; give repo=org/name"
            )
        return self


def _require(problem: str | None) -> None:
    if problem is not None:
        raise ValueError(problem)


@dataclass(config=STRICT, kw_only=True)
class ReportOptions:
    """What a run's report shows besides what all show."""

    slices: list[str] = dataclasses.field(default_factory=list)
    """Columns of the data to break the final metrics down by, e.g. report.slices=[source]."""


@dataclass(config=STRICT, kw_only=True)
class ReportConfig:
    """Write the report of an older or unfinished run."""

    run: str = MISSING
    """Run folder."""
    output: str | None = None
    """html file to write; null: report.html in the run folder."""
    slices: list[str] | None = None
    """Columns of the data to break the final metrics down by; null takes the run's report.slices."""


@dataclass(config=STRICT, kw_only=True)
class CrashTestConfig:
    """Kill a training at random moments, go on with it, and compare bit for bit."""

    kills: Count = 20
    """How many runs are killed; every second one while it writes a checkpoint."""
    seed: Seed = 0
    """Decides the moments."""
    overrides: list[str] = dataclasses.field(default_factory=list)
    """Overrides of the training, as for scripts/train.py."""
    output: str = "outputs/crash_test"
    """Folder for the runs: a new or empty one, or that of an earlier crash test. Identical runs are removed."""


@dataclass(config=STRICT, kw_only=True)
class BenchmarkConfig:
    """Measure how fast the program is on this machine."""

    mode: BenchmarkMode = BenchmarkMode.training
    """training, prepare, startup, tokenisation, memory, checkpoint or determinism."""
    overrides: list[str] = dataclasses.field(default_factory=list)
    """Overrides of the training that is measured, as for scripts/train.py."""
    steps: Count = 8
    """Optimizer steps in a turn; a peer that groups rows by length needs 50 and more to do it well."""
    turns: Count = 3
    """Turns; metrics are medians over them."""
    rows: list[int] = dataclasses.field(
        default_factory=lambda: [10_000, 100_000, 1_000_000]
    )
    """Numbers of rows (memory)."""
    peer: str | None = None
    """A program to measure in turn (training): it takes --model, --data, --limit ... and prints one JSON line."""
    peer_options: list[str] = dataclasses.field(default_factory=list)
    """More options for the peer, e.g. peer_options=[--strategy,group_by_length]."""
    folder: str | None = None
    """Where checkpoints are written (checkpoint); null: the machine's folder for temporary files."""
    output: str | None = None
    """Write the metrics to this JSON file as well."""


@dataclass(config=STRICT, kw_only=True)
class ReproduceConfig:
    """Train a run again from what its folder records, and compare bit for bit."""

    run: str = MISSING
    """Run folder to prove."""
    against: str | None = None
    """Another finished run to compare with, instead of training."""
    until_step: Count | None = None
    """Compare only up to this optimizer step: a quick check."""
    output: str = "outputs/reproduce"
    """Folder in which the second run gets a folder of its own."""


@dataclass(config=STRICT, kw_only=True)
class ComparisonConfig:
    """What configurations are compared by."""

    metric: str | None = None
    """Metric to compare, e.g. val/macro_f1 or test/accuracy; null: the validation metric that training monitored."""
    baseline: str | None = None
    """Configuration that the others are held against: its name, or a part of it; null takes the first."""
    margin: Annotated[float, Field(ge=0)] = 0.0
    """Smallest difference that matters in practice, in the units of the metric."""


@dataclass(config=STRICT, kw_only=True)
class CompareConfig:
    """Say which configuration is better, and whether that is real."""

    runs: list[str] | None = None
    """Run folders and sweep folders; runs that differ only in seeds are one configuration."""
    table: str | None = None
    """csv file with scores from elsewhere, one a row, instead of runs."""
    configuration_column: str = "configuration"
    """Column of the table that names the configuration."""
    sample_column: str | None = None
    """Column that says which scores belong together, e.g. the seed; null takes `seed` or `sample`."""
    score_column: str = "score"
    """Column with the score."""
    where: list[str] = dataclasses.field(default_factory=list)
    """Rows of the table to take, as column:pattern, e.g. where='[dataset:ag_news,split:train-8-*]'."""
    majority: float | None = None
    """Score of the majority class: scores in the table that are no better count as collapsed."""
    higher_is_better: bool = True
    """Whether a higher score in the table is the better one."""
    compare: ComparisonConfig = dataclasses.field(default_factory=ComparisonConfig)
    """What is compared."""
    output: str | None = None
    """Folder for compare.json, compare.md and compare.html; null prints only."""

    @model_validator(mode="after")
    def _one_source(self) -> "CompareConfig":
        if (self.runs is None) == (self.table is None):
            raise ValueError(
                "runs is missing: give runs='[outputs/a,outputs/b]' or table=scores.csv, one of the two"
            )
        wrong = next(
            (condition for condition in self.where if ":" not in condition), None
        )
        if wrong is not None:
            raise ValueError(f"where={wrong}: not of the form column:pattern")
        return self


@dataclass(config=STRICT, kw_only=True)
class CacheConfig:
    """List what the cache holds, or prune it."""

    prune: str | None = None
    """Delete what was not used for this many days, or `all`; null only lists."""
    dry_run: bool = False
    """List what `prune` would delete, and delete nothing."""

    @model_validator(mode="after")
    def _possible(self) -> "CacheConfig":
        if self.prune not in (None, "all") and not (
            self.prune.isascii() and self.prune.isdigit()
        ):
            raise ValueError(f"prune={self.prune}: must be a number of days, or all")
        if self.dry_run and self.prune is None:
            raise ValueError(
                "dry_run=true: there is nothing to try; add prune=30 or prune=all"
            )
        return self
