"""A trained classifier in a program of your own: load, predict. Trains nothing, changes nothing on disk."""

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
from ostinato.model.collators import collator_of, configure_batching
from ostinato.model.device import choose
from ostinato.model.dropout import Masks
from ostinato.model.padding import check_rows
from ostinato.model.pretrained import load_folder
from ostinato.model.trained import verify_best
from ostinato.run_dir import RunDir
from ostinato.scoring.calibration import Calibration, load_calibration
from ostinato.scoring.metrics import probabilities

_CHUNK_BATCHES = 16  # texts are sorted by length within chunks of this many batches: little padding, flat memory


class Classifier(ABC):
    """Labels texts; what computes the logits of a batch, a subclass says.

    Attributes:
        tokenizer: of the model; truncates as training did.
        labels: names of the classes by number.
        task: what a label is.
        calibration: what makes the scores honest; None leaves them as the model gives them.
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
        """Logits [num_rows, num_labels] of one batch.

        Args:
            rows: column name (`input_ids`, ...) to one list of integers per row.
        """

    def encode(
        self, pairs: Sequence[tuple[str, str | None]]
    ) -> dict[str, list[list[int]]]:
        """Token lists of (text, second text or None), as `forward` takes them."""
        texts = [text for text, _ in pairs]
        seconds = (
            [second or "" for _, second in pairs]
            if any(second is not None for _, second in pairs)
            else None
        )
        return dict(
            self.tokenizer(texts, seconds, truncation=True, return_attention_mask=False)
        )

    def predict(
        self,
        texts: Sequence[str],
        text_pairs: Sequence[str] | None = None,
        batch_size: int = 64,
    ) -> list[dict[str, Any]]:
        """Labels texts.

        Args:
            texts: the texts.
            text_pairs: second texts, for models trained on pairs.
            batch_size: texts per batch.

        Returns:
            One dict per text, in order: `label`, `score` and all `scores` (single_label); `labels` above 0.5, or above
            their thresholds when calibrated, and all `scores` (multi_label); `value` (regression).
        """
        pairs = (
            zip(texts, text_pairs, strict=True)
            if text_pairs is not None
            else ((text, None) for text in texts)
        )
        return list(self.predict_stream(pairs, batch_size))

    def predict_stream(
        self, pairs: Iterable[tuple[str, str | None]], batch_size: int = 64
    ) -> Iterator[dict[str, Any]]:
        """Labels an endless stream of (text, second text or None) in flat memory; see `predict`."""
        rows = iter(pairs)
        while chunk := list(islice(rows, batch_size * _CHUNK_BATCHES)):
            logits = self._logits(chunk, batch_size)
            for values in probabilities(
                self.task,
                self.calibration.scaled(logits) if self.calibration else logits,
            ):
                yield self._describe(values)

    def _logits(
        self, chunk: list[tuple[str, str | None]], batch_size: int
    ) -> NDArray[np.float32]:
        encoded = self.encode(chunk)
        lengths = np.array([len(ids) for ids in encoded["input_ids"]], dtype=np.int32)
        logits = np.empty((len(chunk), len(self.labels)), dtype=np.float32)
        for indices in plan_evaluation(lengths, batch_size):
            logits[indices] = self.forward(
                {name: [column[i] for i in indices] for name, column in encoded.items()}
            )
        return logits

    def _describe(self, values: NDArray[np.float64]) -> dict[str, Any]:
        if self.task is Task.regression:
            return {"value": float(values[0])}
        scores = {
            name: float(value) for name, value in zip(self.labels, values, strict=True)
        }
        if self.task is Task.multi_label:
            thresholds = (self.calibration and self.calibration.thresholds) or (
                0.5,
            ) * len(scores)
            above = [
                name
                for (name, value), cut in zip(scores.items(), thresholds, strict=True)
                if value > cut
            ]
            return {"labels": above, "scores": scores}
        best = self.labels[int(np.argmax(values))]
        return {"label": best, "score": scores[best], "scores": scores}


class TextClassifier(Classifier):
    """A sequence classifier with its tokenizer, in torch, without padding where the architecture allows.

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
        configure_batching(self.model, tokenizer, Batching.packed, Masks())
        self._collator = collator_of(self.model, tokenizer)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        device: Device | str = Device.auto,
        calibrated: bool = False,
    ) -> "TextClassifier":
        """Loads the best weights of a run, or any folder with a sequence classifier of transformers.

        Args:
            folder: run folder, its `best/`, or another Hugging Face folder.
            device: auto, cpu, cuda or mps.
            calibrated: scores at the temperature, and labels by the thresholds, that validation gave.

        Raises:
            ConfigError: nothing to load there, or no calibration of these weights.
        """
        run = RunDir(folder)
        verify_best(run)
        source = run.best if run.best.is_dir() else run.path
        if not (source / "config.json").is_file():
            raise ConfigError(
                [
                    f"run={folder}: holds no trained model (no best/ and no config.json); has the run finished?"
                ]
            )
        model, tokenizer = load_folder(source)
        longest = num_positions(model)
        if longest is not None:  # a foreign tokenizer may know no limit
            tokenizer.model_max_length = min(tokenizer.model_max_length, longest)
        classifier = cls(
            model, tokenizer, choose(Device(device), Precision.fp32).device
        )
        if calibrated:
            classifier.calibration = load_calibration(
                source, classifier.task, classifier.labels
            )
        return classifier

    def forward(self, rows: dict[str, list[list[int]]]) -> NDArray[np.float32]:
        """See `Classifier`."""
        lengths = np.array([len(ids) for ids in rows["input_ids"]])
        check_rows(
            self.model, np.concatenate(rows["input_ids"]), lengths, "texts of one batch"
        )
        with torch.inference_mode():
            inputs = to_device(self._collator.inputs(rows), self.device)
            logits: NDArray[np.float32] = (
                self.model(**inputs).logits.float().cpu().numpy()
            )
        return logits


def _task_of(config: PreTrainedConfig) -> Task:
    problem = config.problem_type
    if problem is None:
        return Task.regression if config.num_labels == 1 else Task.single_label
    return Task(problem.removesuffix("_classification"))
