"""Checkpoints on optimizer-step boundaries: atomic, verified by digest, the newest kept.

A checkpoint is weights, optimizer state and integers. There is no generator state to save: randomness is a function
of the step.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from ostinato.atomic import flush, write_json
from ostinato.fingerprint import digest_file
from ostinato.run_dir import RunDir

log = logging.getLogger(__name__)

_WEIGHTS, _OPTIMIZER, _STATE = "model.safetensors", "optimizer.safetensors", "state.json"


@dataclass
class TrainState:
    """Where a training stands, beside its weights: all integers and figures that decide how it goes on.

    Attributes:
        step: optimizer steps done.
        best: best monitored validation figure so far, None before the first evaluation.
        best_step: the step that it was reached at.
        best_sha256: digest of the weights file in `best/`.
        without_improvement: evaluations since then.
        validation: every evaluation so far: {"step": ..., figure: ...}.
        scaler: fp16's loss scale and its counter; empty in other precisions.
    """

    step: int = 0
    best: float | None = None
    best_step: int = 0
    best_sha256: str = ""
    without_improvement: int = 0
    validation: list[dict[str, float]] = field(default_factory=list)
    scaler: dict[str, float] = field(default_factory=dict)


def save_checkpoint(run: RunDir, state: TrainState, model: nn.Module, optimizer: Optimizer, keep: int) -> Path:
    """Writes the checkpoint of `state.step`: to a temporary name, flushed to disk, then renamed; drops older ones.

    Raises:
        OSError: disk full or folder not writable; earlier checkpoints stay.
    """
    target = run.checkpoint(state.step)
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        _save_tensors(model.state_dict(), temporary / _WEIGHTS)
        _save_tensors(_flat_moments(optimizer), temporary / _OPTIMIZER)
        record = {"state": asdict(state), "files": {n: digest_file(temporary / n) for n in (_WEIGHTS, _OPTIMIZER)}}
        write_json(temporary / _STATE, record | {"sha256": _digest(record)})
        for path in (temporary / _WEIGHTS, temporary / _OPTIMIZER, temporary):
            flush(path)
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
        flush(run.checkpoints)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for old in _folders(run)[keep:]:
        shutil.rmtree(old)
    return target


def load_newest(run: RunDir, model: nn.Module, optimizer: Optimizer) -> TrainState | None:
    """Loads the newest whole checkpoint into model and optimizer; names a damaged one and takes the one before.

    Returns:
        The state to go on from, or None when there is no whole checkpoint.
    """
    for folder in _folders(run):
        try:
            state = _verified_state(folder)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s is damaged and passed over: %s", folder, error)
            continue
        _load_weights(model, load_file(folder / _WEIGHTS))
        _load_moments(optimizer, load_file(folder / _OPTIMIZER))
        return state
    return None


def _save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    try:
        first = _first_names(tensors)
        save_file({name: _on_its_own(tensor) for name, tensor in tensors.items() if first[name] == name}, path)
    except SafetensorError as error:
        raise OSError(str(error)) from error


def _load_weights(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    first = _first_names(model.state_dict())
    saved = {name: tensors[first[name]] for name in first if first[name] in tensors}
    model.load_state_dict(dict(tensors) | saved)


def _first_names(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """For each name, the first name of the same tensor: tied weights are saved once."""
    first: dict[Any, str] = {}
    names = {}
    for name, tensor in tensors.items():
        place = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        names[name] = first.setdefault(place if tensor.numel() else name, name)
    return names


def _on_its_own(tensor: Tensor) -> Tensor:
    """A contiguous tensor on the CPU that shares no memory with another: safetensors refuses views."""
    alone = tensor.detach().cpu().contiguous()
    return alone if alone.untyped_storage().nbytes() == alone.numel() * alone.element_size() else alone.clone()


def _flat_moments(optimizer: Optimizer) -> dict[str, Tensor]:
    """AdamW's moments and step counts as "PARAMETER.NAME", parameters by their number."""
    state = optimizer.state_dict()["state"]
    return {f"{number}.{name}": tensor for number, entries in state.items() for name, tensor in entries.items()}


def _load_moments(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Puts moments back. Rates and decays are functions of config and step: they are never restored."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".")
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _verified_state(folder: Path) -> TrainState:
    record: dict[str, Any] = json.loads((folder / _STATE).read_text(encoding="utf-8"))
    if record.pop("sha256") != _digest(record):
        raise ValueError(f"{_STATE} does not have its own digest")
    for name in (_WEIGHTS, _OPTIMIZER):
        if digest_file(folder / name) != record["files"][name]:
            raise ValueError(f"{name} does not have the digest recorded in {_STATE}")
    return TrainState(**record["state"])


def _digest(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _folders(run: RunDir) -> list[Path]:
    return sorted(run.checkpoints.glob("step_*"), reverse=True)
