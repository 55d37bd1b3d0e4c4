"""Writes a run's best model as ONNX, after comparing it with torch on real texts; one that differs is not written.

Compared, and timed, are padded batches on the CPU: the plain transformers model, not the packed one that was trained.
"""

import inspect
import logging
import shutil
import statistics
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ostinato.config import ExportConfig, RunConfig, Task
from ostinato.data.splits import load_data
from ostinato.errors import ConfigError
from ostinato.inference.classifier import Classifier
from ostinato.inference.onnx_classifier import FP32, INT8, RECORD, OnnxClassifier
from ostinato.model.collators import padded_collator
from ostinato.model.device import set_threads
from ostinato.model.trained import load_trained
from ostinato.record.digests import digest_file
from ostinato.run_dir import RunDir
from ostinato.seeding import Seeds
from ostinato.storage.atomic import atomic_folder, write_json

TOLERANCE = 1e-4  # largest difference of a logit in fp32; what reordered sums make is about 1e-6
NUM_COMPARED = 200
NUM_TIMED = 1_000
_BATCH_SIZE = 32
_PACKAGES = ("torch", "transformers", "onnx", "onnxruntime", "onnxscript")

log = logging.getLogger(__name__)

Pairs = Sequence[tuple[str, str | None]]


class _Padded(Classifier):
    """The plain transformers model on padded batches: what the exported one must agree with."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        super().__init__(tokenizer, model.config)
        self.model = model
        taken = inspect.signature(model.forward).parameters
        self.inputs = [name for name in tokenizer.model_input_names if name in taken]
        self._collator = padded_collator(tokenizer)

    def arguments(self, rows: dict[str, list[list[int]]]) -> dict[str, Any]:
        inputs = self._collator.inputs(rows)
        return {name: inputs[name] for name in self.inputs}

    def forward(self, rows: dict[str, list[list[int]]]) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits: NDArray[np.float32] = self.model(
                **self.arguments(rows)
            ).logits.numpy()
        return logits


def export_onnx(cfg: ExportConfig, run: RunDir, config: RunConfig) -> Path:
    """Writes model.onnx, its tokenizer and `export.json` (comparison, speeds, digests), whole or not at all.

    Returns:
        The folder.

    Raises:
        ConfigError: no trained model, an output that is something else, or a model that ONNX Runtime reads otherwise.
        DataError: the run's texts are not there any more.
    """
    target = Path(cfg.output) if cfg.output else run.onnx
    _check_replaceable(target, run)
    set_threads(config.training.threads)
    weights = digest_file(run.best_weights) if run.best_weights.is_file() else ""
    reference = _Padded(*load_trained(run, config.model.attention))
    pairs, splits = _real_texts(config)
    with atomic_folder(target) as folder:
        _write_files(reference, pairs, cfg, run, folder)
        models = sorted(folder.glob("*.onnx"))
        exported = {
            path.name: OnnxClassifier(path, reference.tokenizer, reference.model.config)
            for path in models
        }
        compared = {
            name: _compare(reference, classifier, pairs)
            for name, classifier in exported.items()
        }
        _refuse_what_differs(compared[FP32])
        seconds = {
            name: _seconds(classifier, pairs)
            for name, classifier in {"torch": reference, **exported}.items()
        }
        record = {
            "opset": cfg.opset,
            "weights": weights,
            "files": {path.name: digest_file(path) for path in models},
            "versions": {package: version(package) for package in _PACKAGES},
            "threads": torch.get_num_threads(),
            "texts": {"splits": splits, "number": len(pairs)},
            "compared": compared,
            "seconds": seconds,
        }
        write_json(folder / RECORD, record)
        if digest_file(run.best_weights) != weights:
            raise ConfigError(
                [
                    f"run={run.path}: its best weights changed during the export; wait until it has ended"
                ]
            )
    _say(compared, seconds)
    return target


def _check_replaceable(target: Path, run: RunDir) -> None:
    """Refuses a target that holds anything but an earlier export.

    Raises:
        ConfigError: it does.
    """
    if not target.exists():
        return
    if not (target / RECORD).is_file():
        raise ConfigError(
            [f"output={target}: is there and no earlier export; give another folder"]
        )
    copied = {path.name for path in run.best.glob("*")} - {
        run.best_weights.name,
        run.model_card.name,
    }
    ours = {RECORD, FP32, INT8, *copied}
    other = sorted(path.name for path in target.iterdir() if path.name not in ours)
    if other:
        raise ConfigError(
            [
                f"output={target}: holds {other[0]}, which is not of an export; give another folder"
            ]
        )


def _real_texts(config: RunConfig) -> tuple[Pairs, list[str]]:
    """Texts of the test split, if there are too few also of validation, evenly over each; and the splits' names."""
    data = load_data(config.data, Seeds(config.training.seed, config.training.seeds))
    pairs: list[tuple[str, str | None]] = []
    splits = []
    for split in filter(None, (data.test, data.val)):
        wanted = min(NUM_COMPARED - len(pairs), len(split.rows))
        if not wanted:
            continue
        rows = split.rows[np.linspace(0, len(split.rows) - 1, wanted).astype(int)]
        pairs += zip(rows["text"], rows.get("text_pair", [None] * wanted), strict=True)
        splits.append(split.name)
    return pairs, splits


def _write_files(
    reference: _Padded, pairs: Pairs, cfg: ExportConfig, run: RunDir, folder: Path
) -> None:
    _write_model(reference, pairs, cfg.opset, folder / FP32)
    if cfg.int8:
        _quantize(folder / FP32, folder / INT8)
    reference.tokenizer.save_pretrained(folder)
    reference.model.config.save_pretrained(folder)
    if run.calibration.is_file():
        shutil.copy(run.calibration, folder)


def _write_model(reference: _Padded, pairs: Pairs, opset: int, path: Path) -> None:
    """Writes ONNX with free numbers of rows and of tokens, by torch.export."""
    example = reference.arguments(
        reference.encode(pairs[:3] if len(pairs) > 2 else [pairs[0]] * 3)
    )
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")}
    with _silence():
        torch.onnx.export(
            reference.model,
            kwargs=example,
            f=path,
            input_names=list(example),
            output_names=["logits"],
            opset_version=opset,
            dynamo=True,
            dynamic_shapes=dict.fromkeys(example, axes),
            external_data=False,
            verbose=False,
        )


def _quantize(source: Path, target: Path) -> None:
    """Weights in 8 bits, one scale for each column; activations are quantised as they come."""
    with _silence():
        quantize_dynamic(source, target, weight_type=QuantType.QInt8, per_channel=True)


@contextmanager
def _silence() -> Iterator[None]:
    """Keeps back what exporters say about themselves, through `warnings` and several loggers, the root among them."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _compare(
    reference: Classifier, exported: Classifier, pairs: Pairs
) -> dict[str, float]:
    """Compares logits and labels of batches in the order of the rows, so that they are padded."""
    expected, found = (
        _logits(classifier, pairs) for classifier in (reference, exported)
    )
    agreement = {"max_difference": float(np.abs(expected - found).max())}
    if reference.task is not Task.regression:
        same = _decided(reference.task, expected) == _decided(reference.task, found)
        agreement["same_labels"] = float(
            same.reshape(len(pairs), -1).all(axis=1).mean()
        )
    return agreement


def _logits(classifier: Classifier, pairs: Pairs) -> NDArray[np.float32]:
    batches = [
        pairs[start : start + _BATCH_SIZE]
        for start in range(0, len(pairs), _BATCH_SIZE)
    ]
    return np.concatenate(
        [classifier.forward(classifier.encode(batch)) for batch in batches]
    )


def _decided(task: Task, logits: NDArray[np.float32]) -> NDArray[Any]:
    return logits.argmax(axis=1) if task is Task.single_label else logits > 0


def _say(
    compared: dict[str, dict[str, float]], seconds: dict[str, dict[str, float]]
) -> None:
    for name, agreement in compared.items():
        same = agreement.get("same_labels")
        labels = "" if same is None else f", {same:.1%} of texts get the same labels"
        log.info(
            "%s: logits differ from torch's by at most %.1e%s",
            name,
            agreement["max_difference"],
            labels,
        )
    for name, taken in seconds.items():
        log.info(
            "%s: one text %.1f ms, 1,000 texts %.1f s",
            name,
            1e3 * taken["one_text"],
            taken["1000_texts"],
        )


def _refuse_what_differs(agreement: dict[str, float]) -> None:
    if (
        not agreement["max_difference"] < TOLERANCE
        or agreement.get("same_labels", 1) < 1
    ):  # NaN is refused too
        raise ConfigError(
            [
                f"format=onnx: not written, ONNX Runtime differs from torch by {agreement['max_difference']:.1e} "
                f"(allowed {TOLERANCE:.0e}) and labels {agreement.get('same_labels', 1):.1%} of texts alike; "
                "try another opset"
            ]
        )


def _seconds(classifier: Classifier, pairs: Pairs) -> dict[str, float]:
    """Wall-clock time from text to label: one text alone (median over twenty), and 1,000 together."""
    texts = list(islice(cycle(pairs), NUM_TIMED))
    alone = []
    for pair in texts[:21]:
        before = time.perf_counter()
        list(classifier.predict_stream([pair], 1))
        alone.append(time.perf_counter() - before)
    before = time.perf_counter()
    list(classifier.predict_stream(texts, _BATCH_SIZE))
    return {
        "one_text": statistics.median(alone[1:]),
        "1000_texts": time.perf_counter() - before,
    }
