"""Loads a trained classifier and predicts with it in torch; changes nothing on disk."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ostinato.config import Batching, Device, Precision, RunConfig
from ostinato.data.collate import TokenLists, to_device
from ostinato.errors import ConfigError
from ostinato.inference.base_classifier import Classifier
from ostinato.model.architecture import num_positions
from ostinato.model.collators import collator_of, configure_batching
from ostinato.model.device import choose
from ostinato.model.dropout import Masks
from ostinato.model.padding import check_batch
from ostinato.model.pretrained import load_folder
from ostinato.model.trained import load_trained, verify_best
from ostinato.model.window_pooling import row_logits
from ostinato.run_dir import RunDir, read_config
from ostinato.scoring.calibration import load_calibration

_IN_FP32 = ("sdpa", "eager")  # attention that computes in fp32 on every device


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
        config = _config_with_adapter(run)
        if config is None:
            model, tokenizer = load_folder(source)
        else:
            model, tokenizer = load_trained(run, config)
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


def _config_with_adapter(run: RunDir) -> RunConfig | None:
    """What a run records about its base model, if it trained an adapter.

    Raises:
        ConfigError: the record is not one of this version.
    """
    if not run.best.is_dir() or not run.config.is_file():
        return None
    recorded = read_config(run)
    values = {name: recorded.get(name) or {} for name in ("model", "training", "data")}
    if not all(isinstance(section, dict) for section in values.values()):
        raise ConfigError([f"{run.config}: damaged (does not hold a config)"])
    if values["model"].get("adapter") is None:
        return None
    training = {key: values["training"].get(key) for key in ("seed", "seeds")}
    task = {"task": values["data"].get("task")}
    parts = {"model": values["model"], "training": training, "data": task}
    try:
        config = TypeAdapter(RunConfig).validate_python(parts)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        problem = f"{run.config}: is not a config of this version ({reason})"
        raise ConfigError([problem]) from None
    if config.model.attention not in _IN_FP32:
        config.model.attention = _IN_FP32[0]
    return config
