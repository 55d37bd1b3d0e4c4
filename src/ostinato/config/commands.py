"""The commands that look at runs."""

from pydantic.dataclasses import dataclass

from ostinato.config.types import MISSING, STRICT, Count, Device


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
    """Rows per batch; null takes the run's. Another number moves figures in the last digits."""
    device: Device = Device.auto
    """auto, cpu, cuda or mps."""
    output: str | None = None
    """Write the figures to this JSON file as well."""


@dataclass(config=STRICT, kw_only=True)
class PredictConfig:
    """Label texts with a finished run."""

    run: str = MISSING
    """Run folder, or any folder that transformers can load a sequence classifier from."""
    input: str = "-"
    """csv, tsv or jsonl file with the run's text column; `-` reads stdin: one text per line, or JSON lines."""
    output: str = "-"
    """csv or jsonl file to write; `-` writes JSON lines to stdout."""
    text_column: str | None = None
    """Column with the text; null takes the run's."""
    text_pair_column: str | None = None
    """Column with the second text; null takes the run's."""
    batch_size: Count = 64
    """Rows per batch."""
    device: Device = Device.auto
    """auto, cpu, cuda or mps."""


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
