"""The `training` group."""

import dataclasses
from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ostinato.config.label_types import LabelWeighting, LabelWeights
from ostinato.config.types import (
    STRICT,
    Batching,
    Count,
    Determinism,
    Device,
    LossName,
    OptimizerName,
    Precision,
    ProcessCount,
    Rate,
    Schedule,
    Seconds,
    Seed,
    Workers,
)

_ONLY_FOR = {
    OptimizerName.adamw: ("betas", "eps"),
    OptimizerName.adafactor: ("beta2_decay", "d", "eps1", "eps2"),
}
"""Options of `training` and of `training.optimizer` that one optimizer has."""


@dataclass(config=STRICT, kw_only=True)
class SeedsConfig:
    """One seed per purpose; null derives it from `training.seed`.

    Sweep over one of them alone to see its share of the variance.
    """

    head: Seed | None = None
    """Initial weights of the classification head (and of all layers, when
    pretrained=false).
    """
    adapter: Seed | None = None
    """Initial weights of an adapter."""
    order: Seed | None = None
    """Order of the training rows."""
    dropout: Seed | None = None
    """Dropout masks."""
    split: Seed | None = None
    """Which rows of train become the validation split."""
    subsample: Seed | None = None
    """Which rows `data.limit_*` keeps."""


@dataclass(config=STRICT, kw_only=True)
class EarlyStoppingConfig:
    """Stop when the monitored validation metric no longer improves."""

    patience: Count | None = None
    """Number of evaluations without improvement after which training stops; null never
    stops early.
    """
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """Smallest change that counts as an improvement."""


@dataclass(config=STRICT, kw_only=True)
class OptimizerConfig:
    """The optimizer: `training/optimizer=adamw` or `training/optimizer=adafactor`."""

    name: OptimizerName = OptimizerName.adamw
    """adamw, with `training.betas` and `training.eps`; or adafactor, which keeps one
    number per row and per column of a matrix in place of two per weight, and multiplies
    `training.lr` by the RMS of each matrix or vector. In step t, Adafactor's rate is at
    most 1/sqrt(t).
    """
    beta2_decay: Annotated[float, Field(le=0)] = -0.8
    """Step t moves Adafactor's mean of squared gradients by the share t^beta2_decay."""
    d: Annotated[float, Field(ge=1)] = 1.0
    """Largest RMS of Adafactor's update before it is multiplied by the rate."""
    eps1: Annotated[float, Field(gt=0)] | None = None
    """Adafactor divides a gradient by at least this; null takes the machine epsilon."""
    eps2: Annotated[float, Field(gt=0)] = 1e-3
    """Smallest RMS of a matrix or vector by which Adafactor multiplies the rate."""


@dataclass(config=STRICT, kw_only=True)
class TrainingConfig:
    """The optimization."""

    lr: Annotated[float, Field(gt=0)] = 5e-5
    """Peak learning rate."""
    batch_size: Count = 32
    """Rows per optimizer step, over all micro-batches and processes."""
    eval_batch_size: Count = 64
    """Rows per batch in evaluation and prediction; with windows of long texts, windows
    per batch.
    """
    epochs: Annotated[float, Field(gt=0)] = 2
    """Number of epochs; fractions are allowed."""
    max_steps: Count | None = None
    """Number of optimizer steps, instead of `epochs`."""
    seed: Seed = 42
    """Seed of all random operations; takes the value of `seed`."""
    seeds: SeedsConfig = dataclasses.field(default_factory=SeedsConfig)
    """One seed per purpose."""
    warmup_ratio: Rate = 0.1
    """Fraction of all steps in which the learning rate increases from zero."""
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    """The optimizer."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decoupled weight decay; not applied to biases and norms."""
    betas: tuple[Rate, Rate] = (0.9, 0.999)
    """AdamW's decay rates for the first and second moment."""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    """AdamW's epsilon."""
    head_lr: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate of the layers above the encoder (pooler and classifier); null
    takes `training.lr`.
    """
    layer_lr_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Ratio of the learning rate of each encoder layer to that of the layer above it; 1
    gives all the same rate.
    """
    schedule: Schedule = Schedule.linear
    """Learning rate after the warmup: linear, cosine or constant."""
    max_grad_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Gradients are clipped to this L2 norm; null never clips."""
    accumulate: Count = 1
    """Number of micro-batches per optimizer step, for models that do not fit in memory
    and for several processes.
    """
    processes: ProcessCount = 1
    """Number of processes of this machine that share the micro-batches of each step, at
    most `accumulate`; auto starts one per GPU. Never changes a result.
    """
    shard_optimizer: bool = False
    """Divide AdamW's moments among the processes, to save memory. Never changes a
    result; not with fp16 or adafactor.
    """
    process_timeout: Seconds = 1800.0
    """Seconds that a process waits for the others before the run fails."""
    ema_decay: Rate | None = None
    """Evaluate and save a moving average of the weights that keeps this share of itself
    in each step, e.g. 0.999; null takes the weights themselves.
    """
    label_smoothing: Rate = 0.0
    """Probability mass that is distributed over the other classes (single_label)."""
    loss: LossName = LossName.auto
    """cross_entropy or focal (single_label, multi_label); mse, mae or huber
    (regression); auto takes cross_entropy or mse. Metrics do not depend on it.
    """
    focal_gamma: Annotated[float, Field(ge=1)] = 2.0
    """Exponent of the focal loss: the greater, the less do rows count that the model
    already predicts well.
    """
    huber_delta: Annotated[float, Field(gt=0)] = 1.0
    """Error from which the Huber loss is linear."""
    class_weights: LabelWeights = LabelWeighting.none
    """Weights of the classes in the loss (single_label): none; balanced, inversely
    proportional to the number of rows; sqrt, to its square root; or {label: weight},
    1 for the others.
    """
    pos_weight: LabelWeights = LabelWeighting.none
    """Weights of the positive rows of each label in the loss (multi_label): none;
    balanced, the ratio of negative to positive rows; sqrt, its square root; or
    {label: weight}, 1 for the others.
    """
    precision: Precision = Precision.auto
    """auto, fp32, bf16 or fp16; auto takes bf16 if the hardware multiplies it faster
    than fp32.
    """
    device: Device = Device.auto
    """auto, cpu, cuda or mps."""
    determinism: Determinism = Determinism.strict
    """strict stops at a nondeterministic operation and names it; warn logs a warning;
    off allows it.
    """
    threads: Workers | None = None
    """Number of CPU threads of each process; null divides torch's default among the
    processes of a machine. Results on a CPU depend on this number.
    """
    batching: Batching = Batching.packed
    """packed joins texts without padding (or falls back to bucketed); bucketed pads
    texts of similar length; random pads texts of any length.
    """
    compile: bool = False
    """Compile the model, with CUDA graphs on a GPU; not worthwhile on a CPU
    (docs/performance.md).
    """
    gradient_checkpointing: bool = False
    """Compute the activations of each layer again in the backward pass, which takes
    less memory and more time; not with `training.compile`.
    """
    tokens_per_batch: Count | None = None
    """Maximum number of non-padding tokens per optimizer step, instead of `batch_size`;
    at least `model.max_length`, and the tokens of all windows of a row.
    """
    log_every: Count = 10
    """Optimizer steps between two logged training metrics."""
    eval_every: Count | None = None
    """Optimizer steps between two evaluations; null evaluates at the end of each epoch.
    """
    checkpoint_every: Count | None = None
    """Optimizer steps between two checkpoints; null saves one at each evaluation."""
    keep_checkpoints: Count = 1
    """How many of the newest checkpoints to keep on disk."""
    monitor: str | None = None
    """Validation metric that selects `best/`, e.g. macro_f1; null takes accuracy,
    micro_f1 or mse, by task.
    """
    early_stopping: EarlyStoppingConfig = dataclasses.field(
        default_factory=EarlyStoppingConfig
    )
    """When to stop before the last epoch."""

    @model_validator(mode="after")
    def _check_optimizer(self) -> "TrainingConfig":
        name = self.optimizer.name
        is_adamw = name is OptimizerName.adamw
        if self.shard_optimizer and not is_adamw:
            raise ValueError(
                f"training.shard_optimizer=true: is not possible with {name.value}, "
                "whose update of a weight depends on its whole matrix; "
                "use training.shard_optimizer=false"
            )
        owner = OptimizerName.adafactor if is_adamw else OptimizerName.adamw
        config = self.optimizer if is_adamw else self
        for key in _ONLY_FOR[owner]:
            path = f"training.optimizer.{key}" if is_adamw else f"training.{key}"
            if getattr(config, key) != type(config).__dataclass_fields__[key].default:
                raise ValueError(
                    f"{path}: only for training/optimizer={owner.value}; omit it"
                )
        return self
