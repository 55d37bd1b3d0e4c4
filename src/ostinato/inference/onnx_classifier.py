"""Predicts with a model that scripts/export.py wrote, in ONNX Runtime on the CPU."""

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from ostinato.command_line import command, override
from ostinato.data.collate import TokenLists
from ostinato.errors import ConfigError
from ostinato.inference.base_classifier import Classifier
from ostinato.model.architecture import skeleton
from ostinato.model.collators import padded_collator
from ostinato.model.padding import check_batch
from ostinato.model.pretrained import load_parts
from ostinato.model.window_pooling import pool_array
from ostinato.record.digests import digest_file
from ostinato.record.files import read_export, read_fingerprint
from ostinato.run_dir import RunDir
from ostinato.scoring.calibration import load_calibration

FP32 = "model.onnx"
INT8 = "model_quantized.onnx"  # the name that Hugging Face tools use
RECORD = "export.json"

_ERRORS_ONLY = 3  # log level of ONNX Runtime


class OnnxClassifier(Classifier):
    """An exported sequence classifier with its tokenizer; pads its batches."""

    def __init__(
        self,
        model: Path,
        tokenizer: PreTrainedTokenizerBase,
        config: PreTrainedConfig,
    ) -> None:
        super().__init__(tokenizer, config)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = _ERRORS_ONLY
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        self._inputs = [node.name for node in self._session.get_inputs()]
        self._collator = padded_collator(tokenizer)
        self._frame = skeleton(config)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        calibrated: bool = False,
        int8: bool = False,
    ) -> "OnnxClassifier":
        """Loads an exported model.

        Args:
            folder: run folder, or the folder of the export.
            calibrated: whether to use the temperature and the thresholds that were
                fitted on the validation rows, for the fp32 model.
            int8: whether to load the model with 8-bit weights.

        Raises:
            ConfigError: no exported model, a damaged one, one of other weights than
                those of the run, or no calibration.
        """
        run = RunDir.given(folder)
        source = run.onnx if run.onnx.is_dir() else run.path
        model = source / (INT8 if int8 else FP32)
        if not (source / RECORD).is_file() or not model.is_file():
            overrides = [override("run", str(folder))]
            if int8:
                overrides.append("int8=true")
            export = command("export", *overrides)
            raise ConfigError(
                [f"run={folder}: holds no {model.name}; export it with: {export}"]
            )
        weights = _verify(run, source)
        config, tokenizer = load_parts(source)
        classifier = cls(model, tokenizer, config)
        if calibrated:
            classifier.calibration = load_calibration(
                source,
                classifier.task,
                classifier.labels,
                weights,
            )
        return classifier

    def forward(self, rows: TokenLists) -> NDArray[np.float32]:
        """See `Classifier`."""
        check_batch(self._frame, rows)
        columns = self._collator.inputs(rows)
        inputs = {name: np.asarray(columns[name]) for name in self._inputs}
        logits: NDArray[np.float32] = self._session.run(["logits"], inputs)[0]
        return pool_array(logits, columns, self.long_texts.pooling)


def _verify(run: RunDir, folder: Path) -> str:
    """Checks the exported files, and that they belong to the best weights of the run.

    Returns:
        SHA-256 of the weights that were exported.
    """
    record = read_export(folder / RECORD)
    for name, digest in record["files"].items():
        path = folder / name
        if not path.is_file() or digest_file(path) != digest:
            raise ConfigError(
                [
                    f"{path}: missing, damaged or changed since the export; "
                    "export the run again"
                ]
            )
    weights: str = record["weights"]
    best_weights = None
    if run.fingerprint.is_file():
        best_weights = read_fingerprint(run)["best_weights"]
    if best_weights not in (None, weights):
        raise ConfigError(
            [
                f"{folder}: exported from other weights than the best weights of the "
                "run; export the run again"
            ]
        )
    return weights
