"""Trained classifiers as folders: saved, verified against the record, and loaded."""

import copy
import shutil
from pathlib import Path

from safetensors.torch import save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import SAFE_WEIGHTS_NAME

from ostinato.config import RunConfig
from ostinato.errors import ConfigError
from ostinato.model.adapter import adapter_record, adapter_weights, has_adapter
from ostinato.model.adapter_files import load_adapted
from ostinato.model.pretrained import load_folder
from ostinato.record.digests import digest_file
from ostinato.record.drift import changed_config
from ostinato.record.files import read_fingerprint
from ostinato.run_dir import ADAPTER_CONFIG, ADAPTER_WEIGHTS, RunDir
from ostinato.storage.atomic import atomic_folder, write_json


def save_classifier(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    weights: Path | None = None,
) -> dict[str, str]:
    """Writes a standard Hugging Face folder completely or not at all.

    For a model with an adapter, it is a folder of peft. An older folder of the same
    name is replaced.

    Args:
        model: the classifier.
        tokenizer: its tokenizer.
        folder: the folder to write.
        weights: a file that replaces the model's own weights.

    Returns:
        SHA-256 of each file by name; see `digest_classifier`.
    """
    with atomic_folder(folder) as temporary:
        if has_adapter(model):
            save_adapter(model, temporary)
        else:
            model.save_pretrained(temporary)
        save_tokenizer(tokenizer, temporary)
        if weights is not None:
            name = ADAPTER_WEIGHTS if has_adapter(model) else SAFE_WEIGHTS_NAME
            shutil.copyfile(weights, temporary / name)
        return digest_classifier(temporary)


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes a tokenizer without the truncation and padding of its last call."""
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(folder)


def save_adapter(model: PreTrainedModel, folder: Path) -> None:
    """Writes the adapter, the pooler and the head in the format of peft.

    Args:
        model: the classifier, with its adapter.
        folder: a folder that is renamed when it is complete.
    """
    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)
    write_json(folder / ADAPTER_CONFIG, adapter_record(model))
    weights = {}
    for name, tensor in adapter_weights(model).items():
        weights[name] = tensor.detach().cpu().contiguous()
    save_file(weights, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})


def digest_classifier(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file of a classifier that decides predictions.

    Args:
        folder: a Hugging Face folder.

    Returns:
        Digests by relative path; all files except the model card.
    """
    digests = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "README.md":
            digests[path.relative_to(folder).as_posix()] = digest_file(path)
    return digests


def load_trained(
    run: RunDir, config: RunConfig
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Loads the best weights of a run, in fp32, and their tokenizer.

    Args:
        run: the run's folder.
        config: the run's config. It names the base model of an adapter; no file in
            `best/` does.

    Raises:
        ConfigError: no trained model, files that differ from the run's record, or a
            base model that is not the one of the run.
    """
    if not run.best_config.is_file():
        problem = f"run={run.path}: holds no trained model (no best/)"
        raise ConfigError([f"{problem}; has the run finished?"])
    verify_best(run)
    if config.model.adapter is not None:
        return load_adapted(run, config)
    return load_folder(run.best, config.model.attention)


def verify_best(run: RunDir) -> None:
    """Compares `config.yaml` and the files in `best/` with the record of the run.

    A run writes its record at its end, so unfinished runs are not checked. Earlier
    versions recorded only the weights, without `best_files`.

    Raises:
        ConfigError: a file is missing, damaged or changed.
    """
    if not run.fingerprint.is_file():
        return
    changes = changed_config(run)
    if changes:
        problems = []
        for change in changes:
            problem = f"{run.config}: changed since the run ended ({change})"
            problems.append(f"{problem}; restore the file")
        raise ConfigError(problems)
    record = read_fingerprint(run)
    digests = dict(record.get("best_files", {}))
    digests[run.best_weights.name] = record["best_weights"]
    for name, digest in digests.items():
        path = run.best / name
        # Only calibrated predictions need this file, and they check that it exists.
        if path == run.calibration and not path.exists():
            continue
        _verify_file(path, digest)


def _verify_file(path: Path, digest: str | None) -> None:
    """Compares a file with its recorded digest."""
    remedy = "restore the file, or train again"
    if not path.is_file():
        raise ConfigError([f"{path}: missing; {remedy}"])
    try:
        found = digest_file(path)
    except OSError as error:
        raise ConfigError([f"{path}: not readable ({error.strerror})"]) from None
    if found != digest:
        problem = f"{path}: damaged or changed since the run wrote it"
        raise ConfigError([f"{problem}; {remedy}"])
