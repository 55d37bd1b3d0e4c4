"""The commands that apply a finished run: `evaluate`, `predict` and `export`."""

import dataclasses
from typing import Annotated, Any

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ostinato.config.plugins import missing_extra
from ostinato.config.types import (
    MISSING,
    STRICT,
    Backend,
    Count,
    Device,
    ExportFormat,
    Precision,
    ProcessCount,
    Seconds,
    Workers,
)


@dataclass(config=STRICT, kw_only=True)
class EvaluateConfig:
    """Evaluate a finished run on any split or file."""

    run: str = MISSING
    """Run folder, e.g. outputs/2026-11-22/18-30-12-481000_reuters_r8_minilm."""
    split: str = "test"
    """Split of the run's own data: train, val or test."""
    path: str | None = None
    """A file or glob to evaluate instead of a split, with the same columns as the run's
    data.
    """
    batch_size: Count | None = None
    """Rows per batch; null takes the run's. A different size changes the last digits of
    metrics.
    """
    device: Device = Device.auto
    """auto, cpu, cuda or mps."""
    precision: Precision = Precision.auto
    """auto takes the run's; fp32, bf16 or fp16. A different precision changes the last
    digits of metrics.
    """
    processes: ProcessCount = 1
    """Number of processes of this machine that compute the batches; auto starts one per
    GPU. Never changes a result.
    """
    threads: Workers | None = None
    """CPU threads of each process; null takes the run's, if this machine has as many
    cores. A different number can change the last digits of metrics on a CPU.
    """
    process_timeout: Seconds = 1800.0
    """Seconds to wait for the result of another process before the command fails."""
    output: str | None = None
    """JSON file to write the metrics to as well."""


@dataclass(config=STRICT, kw_only=True)
class PredictConfig:
    """Label texts with a finished run."""

    run: str = MISSING
    """Run folder, or any folder with a sequence classifier that transformers can load.
    """
    input: str = "-"
    """csv, tsv, json, jsonl, parquet or txt file, or a glob; `-` reads stdin: one text
    per line, or JSON lines.
    """
    output: str = "-"
    """csv or jsonl file to write, not the input; `-` writes JSON lines to stdout."""
    keep: Any = dataclasses.field(default_factory=list)
    """Columns of the input to copy to the output, e.g. keep=[id]; keep=all copies all.
    """
    csv_safe: bool = False
    """Write a single quote before text that a spreadsheet would read as a formula (csv
    output).
    """
    text_column: str | None = None
    """Column with the text; null takes the run's."""
    text_pair_column: str | None = None
    """Column with the second text of a pair; null takes the run's."""
    batch_size: Count = 64
    """Rows per batch."""
    device: Device = Device.auto
    """auto, cpu, cuda or mps."""
    processes: ProcessCount = 1
    """Number of processes of this machine that compute the batches, while one more
    reads and writes; auto starts one per GPU. Never changes a result.
    """
    threads: Workers | None = None
    """CPU threads of each process; null takes torch's default. A different number can
    change the last digits of scores on a CPU.
    """
    process_timeout: Seconds = 1800.0
    """Seconds to wait for the result of another process before the command fails."""
    calibrated: bool = False
    """Use the temperature and (multi_label) the thresholds that were fitted to the
    validation split.
    """
    backend: Backend = Backend.torch
    """torch; onnx and onnx_int8 use the model that scripts/export.py wrote, on the CPU.
    """

    @model_validator(mode="after")
    def _check(self) -> "PredictConfig":
        self._check_output()
        self._check_keep()
        if self.backend is not Backend.torch:
            self._check_onnx()
        return self

    def _check_output(self) -> None:
        name = self.output.lower()
        if name != "-" and not name.endswith((".csv", ".jsonl")):
            raise ValueError(
                f"output={self.output}: must be a .csv or .jsonl file, or - for stdout"
            )
        if self.csv_safe and not name.endswith(".csv"):
            raise ValueError(
                f"csv_safe=true: output={self.output} is not csv; give output=FILE.csv"
            )

    def _check_keep(self) -> None:
        if self.keep == "all":
            return
        is_list = isinstance(self.keep, list)
        if not is_list or not all(isinstance(name, str) for name in self.keep):
            raise ValueError(
                f"keep={self.keep}: must be a list of columns, e.g. keep=[id], or all"
            )

    def _check_onnx(self) -> None:
        choice = f"backend={self.backend.value}"
        _raise_if(missing_extra(choice, "onnx", "onnxruntime"))
        if self.device not in (Device.auto, Device.cpu):
            raise ValueError(
                f"device={self.device.value}: {choice} runs on the CPU; use auto or cpu"
            )
        if self.calibrated and self.backend is Backend.onnx_int8:
            raise ValueError(
                "calibrated=true: the calibration was fitted to fp32 logits, "
                "not to int8 logits; use backend=onnx"
            )


@dataclass(config=STRICT, kw_only=True)
class ExportConfig:
    """Export a finished run's model to ONNX or the Hub, or merge its adapter."""

    run: str = MISSING
    """Run folder."""
    format: ExportFormat = ExportFormat.onnx
    """onnx writes a model for ONNX Runtime and compares it with torch; hub pushes best/
    with the token in HF_TOKEN; merged adds an adapter to its base model and writes a
    plain model folder.
    """
    output: str | None = None
    """Folder to write; null takes onnx/ or merged/ in the run folder (onnx, merged)."""
    opset: Annotated[int, Field(ge=18, le=23)] = 18
    """ONNX opset version; a higher one needs a newer runtime (onnx)."""
    int8: bool = False
    """Write a second model with 8-bit weights, a quarter of the size (onnx)."""
    repo: str | None = None
    """Repository to push to, e.g. org/name; created when it does not exist (hub)."""
    private: bool = True
    """Whether a new repository is private (hub)."""

    @model_validator(mode="after")
    def _check(self) -> "ExportConfig":
        if self.format is ExportFormat.onnx:
            packages = ("onnx", "onnxruntime", "onnxscript")
            _raise_if(missing_extra("format=onnx", "onnx", *packages))
        elif self.format is ExportFormat.hub and self.repo is None:
            raise ValueError(
                "repo is missing: format=hub pushes to a repository on the Hub; "
                "give repo=org/name"
            )
        return self


def _raise_if(problem: str | None) -> None:
    if problem is not None:
        raise ValueError(problem)
