"""The `model` group."""

import math
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ostinato.config.plugins import missing_extra
from ostinato.config.types import (
    MISSING,
    STRICT,
    AdapterMethod,
    Count,
    FrozenDtype,
    Head,
    Rate,
    TargetModules,
)

ATTENTION = (
    "sdpa",
    "eager",
    "flash_attention_2",
    "flash_attention_3",
    "flex_attention",
)
"""For any other name, transformers downloads and runs a kernel."""


@dataclass(config=STRICT, kw_only=True)
class AdapterConfig:
    """A low-rank adapter beside frozen layers, chosen by `model/adapter=lora`."""

    method: AdapterMethod = AdapterMethod.lora
    """lora adds the product of two small matrices to each weight matrix; dora also
    trains the norm of each row of the sum.
    """
    r: Count = 8
    """Rank of the two matrices."""
    alpha: Count = 16
    """The product is multiplied by alpha / r."""
    dropout: Rate = 0.0
    """Dropout of the adapter's input."""
    target_modules: TargetModules = "auto"
    """Layers with an adapter: auto takes every linear layer below the pooler and the
    head; or a list of names, e.g. [query, value].
    """


@dataclass(config=STRICT, kw_only=True)
class ModelConfig:
    """The pretrained encoder and its classification head."""

    name: str = MISSING
    """Hub name, local folder, or `asset:NAME` for a model from a package-index wheel.
    """
    revision: str | None = None
    """Branch, tag or commit of a Hub model; null takes the default branch."""
    max_length: Annotated[int, Field(ge=4)] = 128
    """Maximum input length in tokens, including special tokens; longer texts are
    truncated, or read as `data.long_text` says.
    """
    pretrained: bool = True
    """false builds the same architecture with random weights and needs no download
    (benchmarks, tests).
    """
    architecture: dict[str, Any] | None = None
    """Architecture for pretrained=false when `name` is not on this machine:
    `model_type` and its config values.
    """
    dropout: Rate | None = None
    """Dropout of hidden states and head; null keeps the model's own value."""
    attention_dropout: Rate | None = None
    """Dropout of attention probabilities; null keeps the model's own value."""
    head: Head = Head.auto
    """What to do with the checkpoint's head: auto keeps it if its labels match the
    data, and a part without a classifier; new or keep forces either.
    """
    freeze: Annotated[int, Field(ge=0)] | None = None
    """Freeze the embeddings and this number of layers above them; null trains all
    weights.
    """
    attention: str = "sdpa"
    """Attention implementation of transformers: sdpa, eager, flash_attention_2,
    flash_attention_3, flex_attention.
    """
    adapter: AdapterConfig | None = None
    """Train an adapter and the head, and freeze all other weights; null trains all.
    """
    dtype: FrozenDtype | None = None
    """bf16 stores the frozen matrices of a model with an adapter in half the memory;
    needs training.precision=bf16. null stores fp32.
    """

    @model_validator(mode="after")
    def _check_attention(self) -> "ModelConfig":
        if self.attention not in ATTENTION:
            known = ", ".join(ATTENTION)
            raise ValueError(
                f"model.attention={self.attention}: must be one of {known}"
            )
        return self

    @model_validator(mode="after")
    def _check_dtype(self) -> "ModelConfig":
        if self.dtype is not None and self.adapter is None:
            raise ValueError(
                f"model.dtype={self.dtype.value}: stores frozen weights, and without "
                "an adapter none are frozen; add model/adapter=lora"
            )
        return self

    @model_validator(mode="after")
    def _check_architecture(self) -> "ModelConfig":
        for key, value in _numbers(self.architecture, "model.architecture"):
            if not math.isfinite(value):
                raise ValueError(f"{key}={value}: must be a finite number")
        return self


def missing_adapter_package(cfg: ModelConfig) -> list[str]:
    """Checks that the package of the adapter is installed.

    Returns:
        One line with the remedy if it is missing; otherwise nothing.
    """
    if cfg.adapter is None:
        return []
    choice = f"model/adapter={cfg.adapter.method.value}"
    problem = missing_extra(choice, "peft", "peft")
    if problem is None:
        return []
    return [f"{problem}; model/adapter=none trains all weights"]


def _numbers(value: Any, key: str) -> Iterator[tuple[str, float]]:
    """Yields the numbers in nested values, each with its key."""
    if isinstance(value, float):
        yield key, value
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _numbers(item, f"{key}.{name}")
    if isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _numbers(item, f"{key}.{number}")
