"""The types of config fields: ranges of numbers, and enums."""

from enum import Enum
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

MISSING = "???"  # OmegaConf's marker for a value that the user must give

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

Count = Annotated[int, Field(gt=0, lt=2**31)]
_MOST_WORKERS = 1024
Workers = Annotated[int, Field(gt=0, le=_MOST_WORKERS)]


def _check_process_count(value: int | str) -> int | str:
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if value == "auto" or (isinstance(value, int) and 1 <= value <= _MOST_WORKERS):
        return value
    problem = f"must be auto, or an integer from 1 to {_MOST_WORKERS}"
    raise PydanticCustomError("process_count", "{problem}", {"problem": problem})


ProcessCount = Annotated[int | str, AfterValidator(_check_process_count)]
Seconds = Annotated[float, Field(gt=0, le=10**7)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Rate = Annotated[float, Field(ge=0, lt=1)]


class Schedule(str, Enum):
    """How the learning rate changes after the warmup."""

    linear = "linear"
    cosine = "cosine"
    constant = "constant"


class OptimizerName(str, Enum):
    """The algorithm that updates the weights."""

    adamw = "adamw"
    adafactor = "adafactor"


class Precision(str, Enum):
    """The number format of matrix products. Weights and optimizer state are fp32."""

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
    """What to do at an operation without a deterministic implementation."""

    strict = "strict"
    warn = "warn"
    off = "off"


class Batching(str, Enum):
    """How rows are grouped into batches."""

    packed = "packed"
    bucketed = "bucketed"
    random = "random"


class LongText(str, Enum):
    """What becomes of texts that are longer than `model.max_length`."""

    truncate = "truncate"
    head_tail = "head_tail"
    windows = "windows"


class WindowPooling(str, Enum):
    """How the logits of windows become those of their row."""

    mean = "mean"
    max = "max"
    first = "first"


class LossName(str, Enum):
    """The formula that training minimizes."""

    auto = "auto"
    cross_entropy = "cross_entropy"
    focal = "focal"
    mse = "mse"
    mae = "mae"
    huber = "huber"


class Task(str, Enum):
    """The kind of label."""

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

DISTRIBUTION_METRICS = (*METRICS[Task.single_label], "kl")
"""Names of the metrics with `data.label_distribution`."""


class Source(str, Enum):
    """The source of the rows."""

    asset = "asset"
    files = "files"
    hub = "hub"
    generated = "generated"


class Head(str, Enum):
    """What to do with the head of a checkpoint that has one."""

    auto = "auto"
    new = "new"
    keep = "keep"


class AdapterMethod(str, Enum):
    """How an adapter changes the linear layers."""

    lora = "lora"
    dora = "dora"


def _check_target_modules(value: Any) -> "str | list[str]":
    if value == "auto":
        return "auto"
    names = value if isinstance(value, list) else []
    if names and all(isinstance(name, str) and name for name in names):
        return names
    problem = "must be auto, or a list of names, e.g. [query, value]"
    raise PydanticCustomError("target_modules", "{problem}", {"problem": problem})


TargetModules = Annotated[Any, AfterValidator(_check_target_modules)]


class FrozenDtype(str, Enum):
    """The number format in which frozen matrices are stored."""

    bf16 = "bf16"


class BenchmarkMode(str, Enum):
    """What the benchmark measures."""

    training = "training"
    prepare = "prepare"
    startup = "startup"
    tokenisation = "tokenisation"
    memory = "memory"
    checkpoint = "checkpoint"
    determinism = "determinism"
    processes = "processes"


class Backend(str, Enum):
    """The library that computes predictions."""

    torch = "torch"
    onnx = "onnx"
    onnx_int8 = "onnx_int8"


class ExportFormat(str, Enum):
    """What to export a model to: ONNX files, the Hub, or a folder without adapter."""

    onnx = "onnx"
    hub = "hub"
    merged = "merged"


class OnLeak(str, Enum):
    """What to do with training rows whose text is also in validation or test."""

    warn = "warn"
    drop = "drop"
    error = "error"
