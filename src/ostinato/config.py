"""What can be configured: one typed definition per group, each field documented once, under the field.

The same classes are the schema that Hydra checks keys and types against, the ranges that pydantic validates, the
text that `--help` shows and the key table of the README. Nothing here imports Hydra: `ostinato.cli` is the door.
"""

import dataclasses
from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

MISSING = "???"  # OmegaConf's mark for a value that the user must give

_STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True)


Count = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Rate = Annotated[float, Field(ge=0, lt=1)]


class Schedule(str, Enum):
    """How the learning rate goes on after the warmup."""

    linear = "linear"
    cosine = "cosine"
    constant = "constant"


class Precision(str, Enum):
    """The number format of the matrix products; weights and optimizer stay fp32."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class Device(str, Enum):
    """Where the model runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Determinism(str, Enum):
    """What happens when an operation has no deterministic implementation."""

    strict = "strict"
    warn = "warn"
    off = "off"


class Batching(str, Enum):
    """How rows are put together into batches."""

    bucketed = "bucketed"
    random = "random"


class ClassWeights(str, Enum):
    """How classes weigh in the loss."""

    none = "none"
    balanced = "balanced"


class Task(str, Enum):
    """What a label is."""

    single_label = "single_label"
    multi_label = "multi_label"
    regression = "regression"


class Source(str, Enum):
    """Where the rows come from."""

    asset = "asset"
    files = "files"
    hub = "hub"
    generated = "generated"


class OnLeak(str, Enum):
    """What happens with training rows whose text also stands in validation or test."""

    warn = "warn"
    drop = "drop"
    error = "error"


@dataclass(config=_STRICT, kw_only=True)
class ModelConfig:
    """The pretrained encoder and how it is read."""

    name: str = MISSING
    """Hub name, local folder, or `asset:NAME` for a model carried by a package-index wheel."""
    revision: str | None = None
    """Branch, tag or commit of a hub model; null takes the hub's default branch."""
    max_length: Annotated[int, Field(ge=4)] = 128
    """Longest input in tokens, special tokens included; longer texts are truncated."""
    pretrained: bool = True
    """false builds the same architecture with random weights and needs no download (benchmarks, tests)."""
    architecture: dict[str, Any] | None = None
    """Architecture for pretrained=false when `name` is not on this machine: `model_type` and its config values."""
    dropout: Rate | None = None
    """Dropout of hidden states and head; null keeps the model's own."""
    attention_dropout: Rate | None = None
    """Dropout of attention probabilities; null keeps the model's own."""
    attention: str = "sdpa"
    """Attention implementation of transformers: sdpa, eager, flash_attention_2."""


@dataclass(config=_STRICT, kw_only=True)
class SeedsConfig:
    """Seeds by purpose; null derives them from `training.seed`. Sweep one alone to see its share of the variance."""

    head: Seed | None = None
    """Initial weights of the classification head (and of everything, when pretrained=false)."""
    order: Seed | None = None
    """Order of the training rows."""
    dropout: Seed | None = None
    """Dropout masks."""
    split: Seed | None = None
    """Which rows are cut from train as validation split."""
    subsample: Seed | None = None
    """Which rows `data.limit_*` keeps."""


@dataclass(config=_STRICT, kw_only=True)
class EarlyStoppingConfig:
    """Stop when the monitored validation figure no longer improves."""

    patience: Count | None = None
    """Evaluations without improvement after which training stops; null never stops early."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """Smallest change that counts as an improvement."""


@dataclass(config=_STRICT, kw_only=True)
class TrainingConfig:
    """The optimisation."""

    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5e-5
    """Peak learning rate."""
    batch_size: Count = 32
    """Rows per optimizer step and process, over all micro-batches."""
    eval_batch_size: Count = 64
    """Rows per batch in evaluation and prediction."""
    epochs: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2
    """Passes over the training split; fractions are allowed."""
    seed: Seed = 42
    """Seed of everything random; takes the value of `seed`."""
    seeds: SeedsConfig = dataclasses.field(default_factory=SeedsConfig)
    """One seed per purpose, to vary one alone."""
    warmup_ratio: Rate = 0.1
    """Share of all steps over which the learning rate rises from zero."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decoupled weight decay of AdamW; biases and norms are left out."""
    betas: tuple[Rate, Rate] = (0.9, 0.999)
    """AdamW's decay rates of the first and second moment."""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    """AdamW's epsilon."""
    layer_lr_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Learning rate of each encoder layer as a multiple of the layer above it; 1 for one rate everywhere."""
    schedule: Schedule = Schedule.linear
    """Learning rate after the warmup: linear, cosine or constant."""
    max_grad_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Gradients are scaled down to this L2 norm; null never clips."""
    accumulate: Count = 1
    """Micro-batches into which one step's batch is cut, for models that do not fit."""
    label_smoothing: Rate = 0.0
    """Probability mass spread over the other classes (single_label)."""
    class_weights: ClassWeights = ClassWeights.none
    """none, or balanced: classes weigh inversely to their frequency (single_label)."""
    precision: Precision = Precision.auto
    """auto, fp32, bf16 or fp16; auto takes bf16 where the hardware multiplies it faster than fp32."""
    device: Device = Device.auto
    """auto, cpu, cuda or mps."""
    determinism: Determinism = Determinism.strict
    """strict stops at an operation that cannot be deterministic and names it, warn only says it, off allows it."""
    threads: Count | None = None
    """CPU threads; null takes torch's choice. Results on a CPU are bound to this number."""
    batching: Batching = Batching.bucketed
    """bucketed puts texts of like length together (little padding), random does not."""
    log_every: Count = 10
    """Optimizer steps between two logged training figures."""
    eval_every: Count | None = None
    """Optimizer steps between two evaluations; null evaluates at the end of each epoch."""
    checkpoint_every: Count | None = None
    """Optimizer steps between two checkpoints; null saves with each evaluation."""
    keep_checkpoints: Count = 1
    """How many of the newest checkpoints stay on disk."""
    monitor: str | None = None
    """Validation figure that chooses `best/`, e.g. macro_f1; null: accuracy, micro_f1 or mse, by task."""
    early_stopping: EarlyStoppingConfig = dataclasses.field(default_factory=EarlyStoppingConfig)
    """When to stop before the last epoch."""


@dataclass(config=_STRICT, kw_only=True)
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
    """Training file or glob: csv, tsv, json, jsonl or parquet."""
    val_path: str | None = None
    """Validation file or glob; null cuts it from train."""
    test_path: str | None = None
    """Test file or glob; null: no test figures."""
    train_split: str = "train"
    """Name of the training split (hub)."""
    val_split: str | None = None
    """Name of the validation split (hub); null cuts it from train."""
    test_split: str | None = None
    """Name of the test split (hub); null: no test figures."""
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
    num_workers: Count = 1
    """Processes that tokenise. Never changes a result."""

    @model_validator(mode="after")
    def _needs(self) -> "DataConfig":
        if self.source in (Source.asset, Source.hub) and not self.name:
            raise ValueError(f"data.name is missing: data.source={self.source.value} needs the name of a data set")
        if self.source is Source.asset and self.text_pair_column:
            raise ValueError(f"data.text_pair_column={self.text_pair_column}: data.source=asset has single texts only")
        if self.source is Source.files and not self.train_path:
            raise ValueError("data.train_path is missing: give a file or glob, e.g. data.train_path=my/train.csv")
        return self


@dataclass(config=_STRICT, kw_only=True)
class TensorboardConfig:
    """TensorBoard event files in the run folder itself."""

    flush_secs: Count = 10
    """Seconds between two writes to disk."""


@dataclass(config=_STRICT, kw_only=True)
class JsonlConfig:
    """Every logged value as one JSON line in `metrics.jsonl`."""


@dataclass(config=_STRICT, kw_only=True)
class TrackerConfig:
    """Who is told what happens. `tracker=[tensorboard,jsonl]` picks; a tracker never changes a result."""

    tensorboard: TensorboardConfig | None = None
    """TensorBoard event files; null: none."""
    jsonl: JsonlConfig | None = None
    """`metrics.jsonl`; null: none."""


@dataclass(config=_STRICT, kw_only=True)
class ResumeConfig:
    """Going on with a run that was stopped."""

    run: str | None = None
    """Run folder to go on with (`resume=FOLDER` for short); `auto`: this run's own folder, if it holds a checkpoint."""
    allow_drift: bool = False
    """Go on although config, data, code or environment have changed, and record what did."""


@dataclass(config=_STRICT, kw_only=True)
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


@dataclass(config=_STRICT, kw_only=True)
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


@dataclass(config=_STRICT, kw_only=True)
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


@dataclass(config=_STRICT, kw_only=True)
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


def fields(config: type, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Lists every key of a config class as (dotted key, default as typed, documentation), depth first."""
    defaults = config.__dataclass_fields__  # type: ignore[attr-defined]
    for name, info in config.__pydantic_fields__.items():  # type: ignore[attr-defined]
        nested = _nested(info.annotation)
        key = f"{prefix}{name}"
        if nested is not None:
            yield from fields(nested, f"{key}.")
        else:
            yield key, _as_typed(defaults[name].default), " ".join((info.description or "").split())


def _nested(annotation: Any) -> type | None:
    candidates = (annotation, *getattr(annotation, "__args__", ()))
    return next((c for c in candidates if dataclasses.is_dataclass(c) and isinstance(c, type)), None)


def _as_typed(default: Any) -> str:
    if isinstance(default, Enum):
        return str(default.value)
    if isinstance(default, bool) or default is None:
        return {None: "null", True: "true", False: "false"}[default]
    return str(list(default)) if isinstance(default, tuple) else str(default)
