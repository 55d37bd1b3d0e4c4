"""A classifier that scripts/export.py wrote, in ONNX Runtime on the CPU; predicts as `TextClassifier` does."""

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from ostinato.command_line import command, override
from ostinato.errors import ConfigError
from ostinato.inference.classifier import Classifier
from ostinato.model.collators import padded_collator
from ostinato.model.pretrained import load_parts
from ostinato.record.digests import digest_file
from ostinato.record.files import read_export, read_fingerprint
from ostinato.run_dir import RunDir
from ostinato.scoring.calibration import load_calibration

FP32 = "model.onnx"
INT8 = "model_quantized.onnx"  # as the hub's own tools name it
RECORD = "export.json"


class OnnxClassifier(Classifier):
    """An exported sequence classifier with its tokenizer; batches are padded."""

    def __init__(
        self, model: Path, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig
    ) -> None:
        super().__init__(tokenizer, config)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        self._inputs = [node.name for node in self._session.get_inputs()]
        self._collator = padded_collator(tokenizer)

    @classmethod
    def load(
        cls, folder: str | Path, calibrated: bool = False, int8: bool = False
    ) -> "OnnxClassifier":
        """Loads what scripts/export.py wrote.

        Args:
            folder: run folder, or the exported folder.
            calibrated: scores at the temperature, and labels by the thresholds, that validation gave to the fp32 model.
            int8: the model with weights of 8 bits.

        Raises:
            ConfigError: nothing exported there, damaged, or from other weights than the run's; or no calibration.
        """
        run = RunDir(folder)
        source = run.onnx if run.onnx.is_dir() else run.path
        model = source / (INT8 if int8 else FP32)
        if not (source / RECORD).is_file() or not model.is_file():
            export = command(
                "export", override("run", str(folder)), *(["int8=true"] if int8 else [])
            )
            remedy = f"{export} writes it"
            raise ConfigError([f"run={folder}: holds no {model.name}; {remedy}"])
        weights = _verify(run, source)
        config, tokenizer = load_parts(source)
        classifier = cls(model, tokenizer, config)
        if calibrated:
            classifier.calibration = load_calibration(
                source, classifier.task, classifier.labels, weights
            )
        return classifier

    def forward(self, rows: dict[str, list[list[int]]]) -> NDArray[np.float32]:
        """See `Classifier`."""
        inputs = self._collator.inputs(rows)
        logits: NDArray[np.float32] = self._session.run(
            ["logits"], {name: np.asarray(inputs[name]) for name in self._inputs}
        )[0]
        return logits


def _verify(run: RunDir, folder: Path) -> str:
    """Compares the exported files with their record, and the weights that they came from with the run's.

    Returns:
        SHA-256 of the weights that were exported.
    """
    record = read_export(folder / RECORD)
    for name, digest in record["files"].items():
        path = folder / name
        if not path.is_file() or digest_file(path) != digest:
            raise ConfigError(
                [
                    f"{path}: missing, damaged or changed since it was exported; export the run again"
                ]
            )
    trained = (
        read_fingerprint(run)["best_weights"] if run.fingerprint.is_file() else None
    )
    if trained not in (None, record["weights"]):
        raise ConfigError(
            [
                f"{folder}: exported from other weights than the run's best; export the run again"
            ]
        )
    return record["weights"]
