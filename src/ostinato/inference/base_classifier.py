"""The base of all classifiers: tokenises texts, batches them, formats predictions."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from ostinato.config import LongText, Task
from ostinato.data.batching import plan_evaluation
from ostinato.data.collate import TokenLists
from ostinato.data.long_texts import LongTexts, encode_long
from ostinato.data.windows import WINDOW_LENGTHS
from ostinato.inference.workers import Workers
from ostinato.scoring.calibration import Calibration
from ostinato.scoring.metrics import probabilities

# Texts are sorted by length within chunks of this many batches: this needs little
# padding, and constant memory.
_CHUNK_BATCHES = 16

TextPair = tuple[str, str | None]
"""A text, and the second text for models of pairs."""


class Classifier(ABC):
    """Predicts labels for texts. A subclass computes the logits of a batch.

    Attributes:
        tokenizer: tokenizer of the model; its limit is that of the training.
        long_texts: how longer texts are read, as in training.
        labels: names of the classes, by class id.
        task: what a label is.
        calibration: calibrates the scores; None keeps those of the model.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig
    ) -> None:
        self.tokenizer = tokenizer
        self.long_texts = LongTexts.of_model(config)
        self.labels = [str(config.id2label[i]) for i in range(config.num_labels)]
        self.task = _task_of(config)
        self.calibration: Calibration | None = None

    @abstractmethod
    def forward(self, rows: TokenLists) -> NDArray[np.float32]:
        """Computes the logits of one batch.

        Args:
            rows: for each column (`input_ids`, ...) one list of integers per row; see
                `TokenisedSplit.rows`.

        Returns:
            Logits [num_rows, num_labels].
        """

    def encode(self, pairs: Sequence[TextPair]) -> TokenLists:
        """Tokenises texts.

        Args:
            pairs: (text, second text or None).

        Returns:
            The rows that `forward` takes.
        """
        texts = [text for text, _ in pairs]
        second_texts = None
        if any(second is not None for _, second in pairs):
            second_texts = [second or "" for _, second in pairs]
        if self.long_texts.mode is not LongText.truncate:
            columns = [texts] if second_texts is None else [texts, second_texts]
            length = self.tokenizer.model_max_length
            rows, _ = encode_long(self.tokenizer, columns, length, self.long_texts)
            return rows
        encoded = self.tokenizer(
            texts,
            second_texts,
            truncation=True,
            return_attention_mask=False,
        )
        return dict(encoded)

    def predict(
        self,
        texts: Sequence[str],
        text_pairs: Sequence[str] | None = None,
        batch_size: int = 64,
    ) -> list[dict[str, Any]]:
        """Predicts labels for texts.

        Args:
            texts: the texts.
            text_pairs: second texts, for models of pairs.
            batch_size: texts per batch.

        Returns:
            One dict per text, in order. Single-label: `label`, `score` and `scores` of
            all labels. Multi-label: `labels` with a score above 0.5 (above their
            thresholds if calibrated) and `scores` of all labels. Regression: `value`.
        """
        pairs: Iterable[TextPair] = ((text, None) for text in texts)
        if text_pairs is not None:
            pairs = zip(texts, text_pairs, strict=True)
        return list(self.predict_stream(pairs, batch_size))

    def predict_stream(
        self,
        pairs: Iterable[TextPair],
        batch_size: int = 64,
        workers: Workers | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Predicts labels for a stream of any length in constant memory.

        Args:
            pairs: (text, second text or None).
            batch_size: texts per batch.
            workers: compute `logits` of the same model with the same batch size; None
                computes them in this process.

        Yields:
            One dict per text, in order; see `predict`.
        """
        chunks = _chunks(pairs, batch_size * _CHUNK_BATCHES)
        computed: Iterator[NDArray[Any]]
        if workers is None:
            computed = (self.logits(chunk, batch_size) for chunk in chunks)
        else:
            computed = workers.map(chunks)
        for logits in computed:
            if self.calibration is not None:
                logits = self.calibration.scaled(logits)
            for values in probabilities(self.task, logits):
                yield self._prediction(values)

    def logits(
        self, chunk: Sequence[TextPair], batch_size: int = 64
    ) -> NDArray[np.float32]:
        """Computes the logits of texts in batches of similar length.

        Args:
            chunk: (text, second text or None).
            batch_size: texts per batch, or windows.

        Returns:
            Logits [num_texts, num_labels].
        """
        encoded = self.encode(chunk)
        windows = None
        if WINDOW_LENGTHS in encoded:
            counts = [len(sizes) for sizes in encoded[WINDOW_LENGTHS]]
            windows = np.array(counts, dtype=np.int32)
        lengths = np.array([len(ids) for ids in encoded["input_ids"]], dtype=np.int32)
        logits = np.empty((len(chunk), len(self.labels)), dtype=np.float32)
        for indices in plan_evaluation(lengths, batch_size, windows):
            batch = {}
            for name, column in encoded.items():
                batch[name] = [column[i] for i in indices]
            logits[indices] = self.forward(batch)
        return logits

    def _prediction(self, values: NDArray[np.float64]) -> dict[str, Any]:
        """The output for one text.

        Args:
            values: probabilities [num_labels]; for regression, the value [1].
        """
        if self.task is Task.regression:
            return {"value": float(values[0])}
        scores = dict(zip(self.labels, map(float, values), strict=True))
        if self.task is Task.multi_label:
            return {"labels": self._labels_above(scores), "scores": scores}
        best = self.labels[int(np.argmax(values))]
        return {"label": best, "score": scores[best], "scores": scores}

    def _labels_above(self, scores: dict[str, float]) -> list[str]:
        """Labels whose score is above their threshold."""
        thresholds: Sequence[float] = [0.5] * len(scores)
        if self.calibration is not None and self.calibration.thresholds:
            thresholds = self.calibration.thresholds
        above = []
        for (name, value), threshold in zip(scores.items(), thresholds, strict=True):
            if value > threshold:
                above.append(name)
        return above


def _chunks(pairs: Iterable[TextPair], size: int) -> Iterator[list[TextPair]]:
    remaining = iter(pairs)
    while chunk := list(islice(remaining, size)):
        yield chunk


def _task_of(config: PreTrainedConfig) -> Task:
    """The task of a model; transformers names it `problem_type`."""
    problem = config.problem_type
    if problem is not None:
        return Task(problem.removesuffix("_classification"))
    return Task.regression if config.num_labels == 1 else Task.single_label
