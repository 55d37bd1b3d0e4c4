"""Exports the best model of a run to ONNX and compares it with torch on real texts.

A model that differs is not written. Compared and timed is the plain transformers model
on padded batches on the CPU, not the packed one that was trained.
"""

import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from ostinato.config import Batching, ExportConfig, RunConfig
from ostinato.data.splits import load_data
from ostinato.errors import ConfigError
from ostinato.inference.base_classifier import TextPair
from ostinato.inference.onnx_classifier import FP32, INT8, RECORD, OnnxClassifier
from ostinato.inference.onnx_comparison import (
    check_agreement,
    compare_logits,
    log_comparison,
    measure_seconds,
)
from ostinato.inference.onnx_conversion import (
    PaddedClassifier,
    quantize_model,
    write_onnx_model,
)
from ostinato.model.adapter import has_adapter, merge_adapter
from ostinato.model.collators import configure_batching
from ostinato.model.device import set_threads
from ostinato.model.dropout import Masks
from ostinato.model.trained import load_trained
from ostinato.record.digests import digest_file
from ostinato.run_dir import RunDir
from ostinato.seeding import Seeds
from ostinato.storage.atomic import atomic_folder, storage_errors, write_json
from ostinato.storage.paths import possible_path

_NUM_COMPARED = 200
_PACKAGES = ("torch", "transformers", "onnx", "onnxruntime", "onnxscript")


def export_onnx(
    cfg: ExportConfig,
    run: RunDir,
    config: RunConfig,
) -> Path:
    """Writes model.onnx, its tokenizer and `export.json` atomically.

    `export.json` holds the comparison with torch, speeds and digests.

    Args:
        cfg: options of the export.
        run: run folder.
        config: config of the run.

    Returns:
        The folder.

    Raises:
        ConfigError: no trained model, an output folder that is not an export, or a
            model that computes something else in ONNX Runtime.
        DataError: the texts of the run can no longer be read.
    """
    target = Path(cfg.output) if cfg.output else run.onnx
    _check_target(target, run)
    set_threads(config.training.threads)
    weights = digest_file(run.best_weights) if run.best_weights.is_file() else ""
    reference = _load_reference(run, config)
    pairs, splits = _real_texts(config)
    remedy = "free some space, or give another output"
    with storage_errors(target, remedy), atomic_folder(target) as folder:
        _write_files(reference, pairs, cfg, run, folder)
        exported = _load_exported(reference, folder)
        compared = _compare_all(reference, exported, pairs)
        check_agreement(compared[FP32])
        seconds = _time_all(reference, exported, pairs)
        record = {
            "opset": cfg.opset,
            "weights": weights,
            "files": _digests(folder),
            "versions": {package: version(package) for package in _PACKAGES},
            "threads": torch.get_num_threads(),
            "texts": {"splits": splits, "number": len(pairs)},
            "compared": compared,
            "seconds": seconds,
        }
        write_json(folder / RECORD, record)
        _check_weights_unchanged(run, weights)
    log_comparison(compared, seconds)
    return target


def _load_reference(run: RunDir, config: RunConfig) -> PaddedClassifier:
    """Loads the best weights, with the padding side that keeps all logits.

    Raises:
        ConfigError: no trained model, or an architecture that needs packed batches.
    """
    model, tokenizer = load_trained(run, config)
    if has_adapter(model):
        merge_adapter(model)
    # A training with packed batches did not check the padding.
    configure_batching(model, tokenizer, Batching.random, Masks())
    return PaddedClassifier(model, tokenizer)


def _check_target(target: Path, run: RunDir) -> None:
    """Refuses a folder that holds anything but an earlier export."""
    possible_path("output", target)
    if not target.exists():
        return
    if not (target / RECORD).is_file():
        raise ConfigError(
            [
                f"output={target}: exists and is not an earlier export; "
                "give another folder"
            ]
        )
    best_files = {path.name for path in run.best.glob("*")}
    copied = best_files - {run.best_weights.name, run.model_card.name}
    exported = {RECORD, FP32, INT8, *copied}
    other = sorted(path.name for path in target.iterdir() if path.name not in exported)
    if other:
        raise ConfigError(
            [
                f"output={target}: holds {other[0]}, which does not belong to an "
                "export; give another folder"
            ]
        )


def _check_weights_unchanged(run: RunDir, weights: str) -> None:
    if digest_file(run.best_weights) != weights:
        raise ConfigError(
            [
                f"run={run.path}: the best weights changed during the export; "
                "wait until the run has finished"
            ]
        )


def _real_texts(config: RunConfig) -> tuple[Sequence[TextPair], list[str]]:
    """Chooses texts of the test split, and of validation if test has too few.

    Returns:
        Up to 200 texts, evenly spread over each split; names of the splits.
    """
    data = load_data(config.data, Seeds(config.training.seed, config.training.seeds))
    pairs: list[TextPair] = []
    splits = []
    for split in (data.test, data.val):
        if split is None:
            continue
        num_wanted = min(_NUM_COMPARED - len(pairs), len(split.rows))
        if num_wanted == 0:
            continue
        indices = np.linspace(0, len(split.rows) - 1, num_wanted).astype(int)
        rows = split.rows[indices]
        second_texts = rows.get("text_pair", [None] * num_wanted)
        pairs += zip(rows["text"], second_texts, strict=True)
        splits.append(split.name)
    return pairs, splits


def _write_files(
    reference: PaddedClassifier,
    pairs: Sequence[TextPair],
    cfg: ExportConfig,
    run: RunDir,
    folder: Path,
) -> None:
    write_onnx_model(reference, pairs, cfg.opset, folder / FP32)
    if cfg.int8:
        quantize_model(folder / FP32, folder / INT8)
    reference.tokenizer.save_pretrained(folder)
    reference.model.config.save_pretrained(folder)
    if run.calibration.is_file():
        shutil.copy(run.calibration, folder)


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: digest_file(path) for path in sorted(folder.iterdir())}


def _load_exported(
    reference: PaddedClassifier, folder: Path
) -> dict[str, OnnxClassifier]:
    """Loads the exported models, by file name."""
    config = reference.model.config
    models = {}
    for path in sorted(folder.glob("*.onnx")):
        models[path.name] = OnnxClassifier(path, reference.tokenizer, config)
    return models


def _compare_all(
    reference: PaddedClassifier,
    exported: Mapping[str, OnnxClassifier],
    pairs: Sequence[TextPair],
) -> dict[str, dict[str, float]]:
    compared = {}
    for name, model in exported.items():
        compared[name] = compare_logits(reference, model, pairs)
    return compared


def _time_all(
    reference: PaddedClassifier,
    exported: Mapping[str, OnnxClassifier],
    pairs: Sequence[TextPair],
) -> dict[str, dict[str, float]]:
    seconds = {"torch": measure_seconds(reference, pairs)}
    for name, model in exported.items():
        seconds[name] = measure_seconds(model, pairs)
    return seconds
