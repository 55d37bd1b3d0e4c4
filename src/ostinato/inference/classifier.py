"""Loads a trained classifier and predicts with it; changes nothing on disk."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ostinato.config import Batching, Device, Precision, Task
from ostinato.data.batching import plan_evaluation
from ostinato.data.collate import to_device
from ostinato.errors import ConfigError
from ostinato.model.architecture import num_positions
from ostinato.model.build import verify_best
from ostinato.model.device import choose
from ostinato.model.dropout import Masks
from ostinato.model.packing import collator_for
from ostinato.model.padding import check_rows
from ostinato.model.pretrained import load_folder
from ostinato.run_dir import RunDir
from ostinato.scoring.calibration import Calibration, load_calibration
from ostinato.scoring.metrics import probabilities

# Texts are sorted by length within chunks of this many batches: this needs little
# padding, and constant memory.
_CHUNK_BATCHES = 16

TextPair = tuple[str, str | None]
"""A text, and the second text for models of pairs."""


class Classifier(ABC):
    """Predicts labels for texts. A subclass computes the logits of a batch.

    Attributes:
        tokenizer: tokenizer of the model; truncates as in training.
        labels: names of the classes, by class id.
        task: what a label is.
        calibration: calibrates the scores; None keeps those of the model.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig
    ) -> None:
        self.tokenizer = tokenizer
        self.labels = [str(config.id2label[i]) for i in range(config.num_labels)]
        self.task = _task_of(config)
        self.calibration: Calibration | None = None

    @abstractmethod
    def forward(self, rows: dict[str, list[list[int]]]) -> NDArray[np.float32]:
        """Computes the logits of one batch.

        Args:
            rows: for each column (`input_ids`, ...) one list of integers per row.

        Returns:
            Logits [num_rows, num_labels].
        """

    def encode(self, pairs: Sequence[TextPair]) -> dict[str, list[list[int]]]:
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
        encoded = self.tokenizer(
            texts, second_texts, truncation=True, return_attention_mask=False
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
        second_texts: Sequence[str | None] = [None] * len(texts)
        if text_pairs is not None:
            second_texts = text_pairs
        pairs = zip(texts, second_texts, strict=True)
        return list(self.predict_stream(pairs, batch_size))

    def predict_stream(
        self, pairs: Iterable[TextPair], batch_size: int = 64
    ) -> Iterator[dict[str, Any]]:
        """Predicts labels for a stream of any length in constant memory.

        Args:
            pairs: (text, second text or None).
            batch_size: texts per batch.

        Yields:
            One dict per text, in order; see `predict`.
        """
        remaining = iter(pairs)
        while chunk := list(islice(remaining, batch_size * _CHUNK_BATCHES)):
            logits: NDArray[Any] = self._logits(chunk, batch_size)
            if self.calibration is not None:
                logits = self.calibration.scaled(logits)
            for values in probabilities(self.task, logits):
                yield self._prediction(values)

    def _logits(self, chunk: list[TextPair], batch_size: int) -> NDArray[np.float32]:
        """Logits [n, num_labels] of a chunk, computed in batches of similar length."""
        encoded = self.encode(chunk)
        lengths = np.array([len(ids) for ids in encoded["input_ids"]], dtype=np.int32)
        logits = np.empty((len(chunk), len(self.labels)), dtype=np.float32)
        for indices in plan_evaluation(lengths, batch_size):
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


class TextClassifier(Classifier):
    """A sequence classifier in torch; without padding where the architecture allows.

    Example:
        >>> TextClassifier.load("outputs/<run>").predict(["Oil prices rose"])
        [{"label": "crude", "score": 0.98, "scores": {"crude": 0.98, ...}}]
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        device: torch.device,
    ) -> None:
        super().__init__(tokenizer, model.config)
        self.model = model.to(device).eval()
        self.device = device
        self._collator = collator_for(self.model, tokenizer, Batching.packed, Masks())

    @classmethod
    def load(
        cls,
        folder: str | Path,
        device: Device | str = Device.auto,
        calibrated: bool = False,
    ) -> "TextClassifier":
        """Loads the best weights of a run, or another sequence classifier.

        Args:
            folder: run folder, its `best/`, or another Hugging Face model folder.
            device: auto, cpu, cuda or mps.
            calibrated: whether to use the temperature and the thresholds that were
                fitted on the validation rows.

        Raises:
            ConfigError: no model in the folder, or no calibration of these weights.
        """
        run = RunDir(folder)
        verify_best(run)
        source = run.best if run.best.is_dir() else run.path
        if not (source / "config.json").is_file():
            raise ConfigError(
                [
                    f"run={folder}: holds no trained model (no best/ and no "
                    "config.json); has the run finished?"
                ]
            )
        model, tokenizer = load_folder(source)
        longest = num_positions(model)
        if longest is not None:  # some tokenizers have no limit
            tokenizer.model_max_length = min(tokenizer.model_max_length, longest)
        compute = choose(Device(device), Precision.fp32)
        classifier = cls(model, tokenizer, compute.device)
        if calibrated:
            classifier.calibration = load_calibration(
                source, classifier.task, classifier.labels
            )
        return classifier

    def forward(self, rows: dict[str, list[list[int]]]) -> NDArray[np.float32]:
        """See `Classifier`."""
        lengths = np.array([len(ids) for ids in rows["input_ids"]])
        token_ids = np.concatenate(rows["input_ids"])
        check_rows(self.model, token_ids, lengths, "texts of one batch")
        with torch.inference_mode():
            inputs = to_device(self._collator.inputs(rows), self.device)
            outputs = self.model(**inputs)
            logits: NDArray[np.float32] = outputs.logits.float().cpu().numpy()
        return logits


def _task_of(config: PreTrainedConfig) -> Task:
    """The task of a model; transformers names it `problem_type`."""
    problem = config.problem_type
    if problem is not None:
        return Task(problem.removesuffix("_classification"))
    return Task.regression if config.num_labels == 1 else Task.single_label
