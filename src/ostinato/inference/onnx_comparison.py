"""Compares an exported model with torch: logits, labels and speed."""

import logging
import statistics
import time
from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.config import Task
from ostinato.errors import ConfigError
from ostinato.inference.base_classifier import Classifier, TextPair

TOLERANCE = 1e-4
"""Largest allowed difference of a fp32 logit, relative to the largest logit.

Reordered sums differ by about 1e-6.
"""

_NUM_TIMED = 1_000
_NUM_TIMED_ALONE = 20
_BATCH_SIZE = 32

log = logging.getLogger(__name__)


def compare_logits(
    reference: Classifier,
    exported: Classifier,
    pairs: Sequence[TextPair],
) -> dict[str, float]:
    """Compares logits and labels of padded batches.

    Args:
        reference: the model in torch.
        exported: the model in ONNX Runtime.
        pairs: texts; batched in this order, so that batches contain padding.

    Returns:
        `max_difference` of the logits and their `largest` size; except for regression
        also `same_labels`, the share of texts with the same labels.
    """
    expected = _logits(reference, pairs)
    found = _logits(exported, pairs)
    agreement = {
        "max_difference": float(np.abs(expected - found).max()),
        "largest": float(np.abs(expected).max()),
    }
    if reference.task is not Task.regression:
        same = _labels(reference.task, expected) == _labels(reference.task, found)
        same_per_text = same.reshape(len(pairs), -1).all(axis=1)
        agreement["same_labels"] = float(same_per_text.mean())
    return agreement


def _logits(classifier: Classifier, pairs: Sequence[TextPair]) -> NDArray[np.float32]:
    logits = []
    for start in range(0, len(pairs), _BATCH_SIZE):
        batch = pairs[start : start + _BATCH_SIZE]
        logits.append(classifier.forward(classifier.encode(batch)))
    return np.concatenate(logits)


def _labels(task: Task, logits: NDArray[np.float32]) -> NDArray[Any]:
    """Predicted class ids [n], or whether each label is predicted [n, C]."""
    return logits.argmax(axis=1) if task is Task.single_label else logits > 0


def check_agreement(agreement: dict[str, float]) -> None:
    """Refuses a model that differs from torch.

    Args:
        agreement: what `compare_logits` returned.

    Raises:
        ConfigError: a logit differs by more than `TOLERANCE` allows, or a label
            differs.
    """
    difference = agreement["max_difference"]
    allowed = TOLERANCE * agreement["largest"]
    same_labels = agreement.get("same_labels", 1)
    # The comparison is false for NaN, which is refused too.
    is_close = difference <= allowed
    if not is_close or same_labels < 1:
        raise ConfigError(
            [
                f"format=onnx: not written, ONNX Runtime differs from torch by "
                f"{difference:.1e} (allowed: {allowed:.1e}) and gives "
                f"{same_labels:.1%} of texts the same labels; try another opset"
            ]
        )


def measure_seconds(
    classifier: Classifier, pairs: Sequence[TextPair]
) -> dict[str, float]:
    """Measures the wall-clock time from text to label.

    Args:
        classifier: the model.
        pairs: texts; repeated if there are fewer than 1,000.

    Returns:
        Seconds for `one_text` (median over 20 texts) and for `1000_texts` in batches.
    """
    texts = list(islice(cycle(pairs), _NUM_TIMED))
    seconds = []
    for pair in texts[: _NUM_TIMED_ALONE + 1]:
        before = time.perf_counter()
        list(classifier.predict_stream([pair], 1))
        seconds.append(time.perf_counter() - before)
    one_text = statistics.median(seconds[1:])  # the first is a warm-up

    before = time.perf_counter()
    list(classifier.predict_stream(texts, _BATCH_SIZE))
    return {"one_text": one_text, "1000_texts": time.perf_counter() - before}


def log_comparison(
    compared: dict[str, dict[str, float]], seconds: dict[str, dict[str, float]]
) -> None:
    """Logs how well each model agrees with torch, and how fast it is.

    Args:
        compared: what `compare_logits` returned, by model.
        seconds: what `measure_seconds` returned, by model.
    """
    for name, agreement in compared.items():
        labels = ""
        if "same_labels" in agreement:
            labels = f"; {agreement['same_labels']:.1%} of texts get the same labels"
        difference = agreement["max_difference"]
        log.info(
            "%s: logits differ from torch by at most %.1e%s",
            name,
            difference,
            labels,
        )
    for name, measured in seconds.items():
        one_text_ms = 1e3 * measured["one_text"]
        log.info(
            "%s: %.1f ms for one text, %.1f s for 1,000 texts",
            name,
            one_text_ms,
            measured["1000_texts"],
        )
