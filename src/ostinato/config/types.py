"""What config fields are made of: ranges, and the choices that a key offers."""

from enum import Enum
from typing import Annotated

from pydantic import ConfigDict, Field

MISSING = "???"  # OmegaConf's mark for a value that the user must give

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

Count = Annotated[int, Field(gt=0, lt=2**31)]
Workers = Annotated[int, Field(gt=0, le=1024)]
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

    packed = "packed"
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


METRICS = {
    Task.single_label: (
        *("loss", "accuracy", "macro_f1", "micro_f1", "weighted_f1", "mcc"),
        *("auroc", "ece", "brier"),
    ),
    Task.multi_label: ("loss", "micro_f1", "macro_f1", "map", "subset_accuracy"),
    Task.regression: ("loss", "mse", "mae", "pearson", "spearman"),
}
"""Names of the metrics of each task; `ostinato.scoring.scores.score` explains them."""


class Source(str, Enum):
    """Where the rows come from."""

    asset = "asset"
    files = "files"
    hub = "hub"
    generated = "generated"


class Head(str, Enum):
    """What becomes of the head of a checkpoint that has one."""

    auto = "auto"
    new = "new"
    keep = "keep"


class BenchmarkMode(str, Enum):
    """What is measured."""

    training = "training"
    prepare = "prepare"
    startup = "startup"
    tokenisation = "tokenisation"
    memory = "memory"
    checkpoint = "checkpoint"
    determinism = "determinism"


class Backend(str, Enum):
    """What computes predictions."""

    torch = "torch"
    onnx = "onnx"
    onnx_int8 = "onnx_int8"


class ExportFormat(str, Enum):
    """What a model is written as, or where it goes."""

    onnx = "onnx"
    hub = "hub"


class OnLeak(str, Enum):
    """What happens with training rows whose text also stands in validation or test."""

    warn = "warn"
    drop = "drop"
    error = "error"
