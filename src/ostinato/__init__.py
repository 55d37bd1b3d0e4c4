"""ostinato: fine-tuning of sequence classifiers whose runs repeat bit for bit."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ostinato.inference.classifier import TextClassifier

__all__ = ["TextClassifier"]


def __getattr__(name: str) -> Any:
    # Loaded when asked for: `--help` must not wait for torch.
    if name == "TextClassifier":
        from ostinato.inference.classifier import TextClassifier

        return TextClassifier
    raise AttributeError(f"module 'ostinato' has no attribute {name!r}")
