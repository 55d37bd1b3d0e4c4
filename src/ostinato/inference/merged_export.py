"""Adds the adapter of a run to its base model and writes a plain model folder.

The folder is written only if the merged model computes the same logits.
"""

import logging
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ostinato.config import Batching, ExportConfig, RunConfig
from ostinato.errors import ConfigError
from ostinato.model.adapter import merge_adapter
from ostinato.model.agreement import probe_rows
from ostinato.model.collators import collator_of, configure_batching
from ostinato.model.device import set_threads
from ostinato.model.dropout import Masks
from ostinato.model.trained import digest_classifier, load_trained, save_tokenizer
from ostinato.record.digests import digest_file
from ostinato.run_dir import RunDir
from ostinato.storage.atomic import atomic_folder, storage_errors, write_json
from ostinato.storage.paths import possible_path

_RECORD = "export.json"
_TOLERANCE = 1e-4  # relative to the largest logit; reordered sums differ by about 1e-6

log = logging.getLogger(__name__)


def export_merged(cfg: ExportConfig, run: RunDir, config: RunConfig) -> Path:
    """Writes weights, config, tokenizer and `export.json` atomically.

    Args:
        cfg: options of the export.
        run: run folder.
        config: config of the run.

    Returns:
        The folder.

    Raises:
        ConfigError: a run without an adapter, another base model, an output folder
            that is not an export, or a merged model that computes something else.
    """
    if config.model.adapter is None:
        problem = f"format=merged: run={run.path} has no adapter"
        raise ConfigError([f"{problem}; best/ is a plain model folder already"])
    target = Path(cfg.output) if cfg.output else run.merged
    _check_target(target)
    set_threads(config.training.threads)
    model, tokenizer = load_trained(run, config)
    adapter = digest_file(run.best_weights)
    configure_batching(model, tokenizer, Batching.random, Masks())
    before = _logits(model, tokenizer)
    merge_adapter(model)
    difference = _check_same(before, _logits(model, tokenizer))
    remedy = "free some space, or give another output"
    with storage_errors(target, remedy), atomic_folder(target) as folder:
        model.save_pretrained(folder)
        save_tokenizer(tokenizer, folder)
        files = digest_classifier(folder)
        record = {"weights": adapter, "files": files, "difference": difference}
        write_json(folder / _RECORD, record)
    log.info("logits differ by at most %.1e of the largest one", difference)
    return target


def _check_target(target: Path) -> None:
    """Refuses a folder that is not an earlier export of a merged model."""
    possible_path("output", target)
    if not target.exists():
        return
    is_export = (target / _RECORD).is_file() and (target / "config.json").is_file()
    if not is_export or list(target.glob("*.onnx")):
        problem = f"output={target}: exists and is not an earlier merged model"
        raise ConfigError([f"{problem}; give another folder"])


def _logits(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """The logits of a few texts."""
    inputs = collator_of(model, tokenizer).inputs(probe_rows(tokenizer))
    with torch.inference_mode():
        logits: Tensor = model(**inputs).logits
    return logits


def _check_same(before: Tensor, after: Tensor) -> float:
    """The largest difference, relative to the largest logit.

    Raises:
        ConfigError: it is too large.
    """
    difference = float((after - before).abs().max() / before.abs().max())
    if not difference <= _TOLERANCE:  # also for NaN
        problem = f"format=merged: not written, logits differ by {difference:.1e}"
        raise ConfigError([f"{problem} of the largest one; use best/ with peft"])
    return difference
