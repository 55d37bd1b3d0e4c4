"""The `model` group."""

from typing import Annotated, Any

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ostinato.config.types import MISSING, STRICT, Head, Rate

_ATTENTION = (
    "sdpa",
    "eager",
    "flash_attention_2",
    "flash_attention_3",
    "flex_attention",
)


@dataclass(config=STRICT, kw_only=True)
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
    head: Head = Head.auto
    """The checkpoint's own head: auto keeps it where its labels are those of the data, new and keep decide."""
    attention: str = "sdpa"
    """Attention implementation of transformers: sdpa, eager, flash_attention_2, flash_attention_3, flex_attention."""

    @model_validator(mode="after")
    def _runs_no_foreign_code(self) -> "ModelConfig":
        if (
            self.attention not in _ATTENTION
        ):  # transformers would download a kernel by its name, and run it
            raise ValueError(
                f"model.attention={self.attention}: must be one of {', '.join(_ATTENTION)}"
            )
        return self
