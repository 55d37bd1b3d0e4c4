"""Converts a model to ONNX, in fp32 and with 8-bit weights."""

import inspect
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ostinato.data.collate import Inputs, TokenLists
from ostinato.errors import ConfigError
from ostinato.inference.base_classifier import Classifier, TextPair
from ostinato.model.collators import padded_collator
from ostinato.model.window_pooling import pool_array

_NUM_EXAMPLES = 3  # torch.export fixes a dimension of size 1


class PaddedClassifier(Classifier):
    """The plain transformers model on padded batches, which is what is exported."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        super().__init__(tokenizer, model.config)
        self.model = model
        arguments = inspect.signature(model.forward).parameters
        names = tokenizer.model_input_names
        self._inputs = [name for name in names if name in arguments]
        self._collator = padded_collator(tokenizer)

    def inputs(self, rows: TokenLists) -> dict[str, Any]:
        """The padded tensors [num_rows, length] that the model takes.

        Args:
            rows: see `Classifier.forward`; windows become rows.
        """
        return self._select(self._collator.inputs(rows))

    def forward(self, rows: TokenLists) -> NDArray[np.float32]:
        """See `Classifier`."""
        columns = self._collator.inputs(rows)
        with torch.inference_mode():
            outputs = self.model(**self._select(columns))
            logits: NDArray[np.float32] = outputs.logits.numpy()
        return pool_array(logits, columns, self.long_texts.pooling)

    def _select(self, columns: Inputs) -> dict[str, Any]:
        return {name: columns[name] for name in self._inputs}


def write_onnx_model(
    classifier: PaddedClassifier,
    pairs: Sequence[TextPair],
    opset: int,
    path: Path,
) -> None:
    """Writes a model for any number of rows and tokens, with torch.export.

    Args:
        classifier: the model.
        pairs: texts to trace the model with, at least one.
        opset: version of the ONNX operators.
        path: file to write.

    Raises:
        ConfigError: torch cannot convert this architecture.
    """
    examples = list(pairs[:_NUM_EXAMPLES])
    if len(examples) < _NUM_EXAMPLES:
        examples = [pairs[0]] * _NUM_EXAMPLES
    inputs = classifier.inputs(classifier.encode(examples))
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")}
    try:
        with _silence():
            torch.onnx.export(
                classifier.model,
                kwargs=inputs,
                f=path,
                input_names=list(inputs),
                output_names=["logits"],
                opset_version=opset,
                dynamo=True,
                dynamic_shapes=dict.fromkeys(inputs, axes),
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        architecture = classifier.model.config.model_type
        reason = _reason(error)
        problem = f"format=onnx: torch cannot convert {architecture} ({reason})"
        raise ConfigError([f"{problem}; use another opset or format=hub"]) from error


def _reason(error: BaseException) -> str:
    """The first line of the error that made a conversion fail."""
    cause = error.__cause__ or error
    lines = str(cause).strip().splitlines() or [""]
    return f"{type(cause).__name__}: {lines[0]}"


def quantize_model(source: Path, target: Path) -> None:
    """Writes a model with 8-bit weights, one scale per column.

    Activations are quantised when the model runs.

    Args:
        source: the fp32 model.
        target: file to write.
    """
    with _silence():
        quantize_dynamic(
            source,
            target,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )


@contextmanager
def _silence() -> Iterator[None]:
    """Hides the warnings and logs of the exporters, which also use the root logger."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
