"""Loads a trained classifier and predicts with it in torch; changes nothing on disk."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ostinato.config import Batching, Device, Precision
from ostinato.data.collate import TokenLists, to_device
from ostinato.errors import ConfigError
from ostinato.inference.base_classifier import Classifier
from ostinato.model.architecture import num_positions
from ostinato.model.collators import collator_of, configure_batching
from ostinato.model.device import choose
from ostinato.model.dropout import Masks
from ostinato.model.padding import check_batch
from ostinato.model.pretrained import load_folder
from ostinato.model.trained import verify_best
from ostinato.model.window_pooling import row_logits
from ostinato.run_dir import RunDir
from ostinato.scoring.calibration import load_calibration


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
        configure_batching(self.model, tokenizer, Batching.packed, Masks())
        self._collator = collator_of(self.model, tokenizer)

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
        run = RunDir.given(folder)
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

    def forward(self, rows: TokenLists) -> NDArray[np.float32]:
        """See `Classifier`."""
        check_batch(self.model, rows)
        with torch.inference_mode():
            inputs = to_device(self._collator.inputs(rows), self.device)
            outputs = row_logits(self.model, inputs)
            logits: NDArray[np.float32] = outputs.float().cpu().numpy()
        return logits
