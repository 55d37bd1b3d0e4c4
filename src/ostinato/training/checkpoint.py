"""Checkpoints on optimizer-step boundaries: atomic, verified by digest, the newest kept.

A checkpoint is weights, optimizer state and integers. There is no generator state to save: randomness is a function
of the step. The best weights so far belong to it: `kept_best/` holds one copy of each that a kept checkpoint needs.
"""

import logging
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from ostinato.errors import ResumeRefused
from ostinato.record.digests import digest_file
from ostinato.record.fingerprint import holds_steps
from ostinato.run_dir import RunDir, read_json, write_record
from ostinato.storage.atomic import atomic_file, atomic_folder

log = logging.getLogger(__name__)

_WEIGHTS, _OPTIMIZER, _STATE = (
    "model.safetensors",
    "optimizer.safetensors",
    "state.json",
)
_NAME = re.compile(r"step_(\d{8,})")
_READ_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError)


@dataclass
class TrainState:
    """Where a training stands, beside its weights: all integers and metrics that decide how it goes on.

    Attributes:
        step: optimizer steps done.
        best: best monitored validation metric so far, None before the first evaluation.
        best_step: the step that it was reached at.
        best_sha256: digest of the weights file in `best/`.
        without_improvement: evaluations since then.
        steps_sha256: digest of the lines of `steps.jsonl` up to `step`; empty in checkpoints of earlier versions.
        validation: every evaluation so far: {"step": ..., metric: ...}.
        scaler: fp16's loss scale and its counter; empty in other precisions.
        monitor: the validation metric that chose the best weights; empty in checkpoints of earlier versions.
    """

    step: int = 0
    best: float | None = None
    best_step: int = 0
    best_sha256: str = ""
    without_improvement: int = 0
    steps_sha256: str = ""
    validation: list[dict[str, float]] = field(default_factory=list)
    scaler: dict[str, float] = field(default_factory=dict)
    monitor: str = ""


def save_checkpoint(
    run: RunDir, state: TrainState, model: nn.Module, optimizer: Optimizer, keep: int
) -> Path:
    """Writes the checkpoint of `state.step` and keeps a copy of its best weights; drops what is not needed any more.

    Dropped are all but the `keep` newest checkpoints, checkpoints of later steps (a run that went back computes those
    steps again), and best weights that no kept checkpoint needs.

    Raises:
        OSError: disk full, folder not writable, or best weights that changed on disk; earlier checkpoints stay.
    """
    _keep_best(run, state.best_sha256)
    target = run.checkpoint(state.step)
    with atomic_folder(target) as temporary:
        _save_tensors(model.state_dict(), temporary / _WEIGHTS)
        _save_tensors(_flat_moments(model, optimizer), temporary / _OPTIMIZER)
        files = {name: digest_file(temporary / name) for name in (_WEIGHTS, _OPTIMIZER)}
        write_record(temporary / _STATE, {"state": asdict(state), "files": files})
    drop_later(run, state.step)
    for old in _folders(run)[keep:]:
        shutil.rmtree(old)
    _drop_unused_best(run)
    return target


def load_newest(
    run: RunDir, model: nn.Module, optimizer: Optimizer
) -> TrainState | None:
    """Loads the newest whole checkpoint into model and optimizer; names a damaged one and takes the one before.

    A checkpoint is whole when its files, the lines of its steps in `steps.jsonl` and its best weights are as it
    recorded them.

    Returns:
        The state to go on from, or None when there is no whole checkpoint.

    Raises:
        ResumeRefused: the checkpoint is of another model.
    """
    for folder in _folders(run):
        try:
            state = _verified_state(run, folder)
        except _READ_ERRORS as error:
            log.warning("%s is damaged and passed over: %s", folder, error)
            continue
        weights, moments = (
            _with_tied(model, load_file(folder / _WEIGHTS)),
            load_file(folder / _OPTIMIZER),
        )
        if _shapes(weights) != _shapes(model.state_dict()):
            raise ResumeRefused(
                [
                    f"resume={run.path}: {folder.name} is of another model; start a new run"
                ]
            )
        by_number = _moments_by_number(model, optimizer, moments)
        if by_number is None:
            raise ResumeRefused(
                [
                    f"resume={run.path}: {folder.name} has moments of another optimizer; start a new run"
                ]
            )
        model.load_state_dict(weights)
        # Rates and decays are functions of config and step: they are never restored.
        optimizer.load_state_dict(
            {"state": by_number, "param_groups": optimizer.state_dict()["param_groups"]}
        )
        return state
    return None


def drop_later(run: RunDir, step: int) -> None:
    """Deletes the checkpoints after `step`: a run that goes on from there would otherwise mix two histories."""
    for folder in _folders(run):
        if _step(folder) > step:
            log.info("deleting %s: the run goes on from step %d", folder, step)
            shutil.rmtree(folder)


def find_best(run: RunDir, sha256: str) -> Path:
    """The file with the best weights of this digest: in `best/`, or the copy that a checkpoint kept.

    Raises:
        FileNotFoundError: neither has them.
    """
    for path in (run.best_weights, run.best_of(sha256)):
        if path.is_file() and digest_file(path) == sha256:
            return path
    raise FileNotFoundError(
        f"its best weights are neither in {run.best} nor in {run.kept_best}"
    )


def _keep_best(run: RunDir, sha256: str) -> None:
    kept = run.best_of(sha256)
    if not sha256 or kept.is_file():
        return
    kept.parent.mkdir(exist_ok=True)
    with atomic_file(kept, "wb") as file, run.best_weights.open("rb") as best:
        shutil.copyfileobj(best, file)
    if digest_file(kept) != sha256:
        kept.unlink()
        raise OSError(f"{run.best_weights} changed while the run trained")


def _drop_unused_best(run: RunDir) -> None:
    needed = set()
    for folder in _folders(run):
        try:
            needed.add(
                run.best_of(read_json(folder / _STATE)["state"]["best_sha256"]).name
            )
        except _READ_ERRORS:
            continue  # damaged: nothing goes on from it
    for path in run.kept_best.glob("*.safetensors"):
        if path.name not in needed:
            path.unlink()


def _save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    try:
        first = _first_names(tensors)
        save_file(
            {
                name: _on_its_own(tensor)
                for name, tensor in tensors.items()
                if first[name] == name
            },
            path,
        )
    except SafetensorError as error:
        raise OSError(str(error)) from error


def _with_tied(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file, and those that the model ties to them under other names."""
    first = _first_names(model.state_dict())
    return dict(tensors) | {
        name: tensors[first[name]] for name in first if first[name] in tensors
    }


def _first_names(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """For each name, the first name of the same tensor: tied weights are saved once."""
    first: dict[Any, str] = {}
    names = {}
    for name, tensor in tensors.items():
        place = (
            tensor.device,
            tensor.data_ptr(),
            tensor.dtype,
            tensor.shape,
            tensor.stride(),
        )
        names[name] = first.setdefault(place if tensor.numel() else name, name)
    return names


def _on_its_own(tensor: Tensor) -> Tensor:
    """A contiguous tensor on the CPU that shares no memory with another: safetensors refuses views."""
    alone = tensor.detach().cpu().contiguous()
    return (
        alone
        if alone.untyped_storage().nbytes() == alone.numel() * alone.element_size()
        else alone.clone()
    )


def _flat_moments(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """AdamW's moments and step counts as "PARAMETER.NAME"."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    flat: dict[str, Tensor] = {}
    for parameter, entries in optimizer.state.items():
        flat |= {
            f"{names[id(parameter)]}.{name}": tensor for name, tensor in entries.items()
        }
    return flat


def _moments_by_number(
    model: nn.Module, optimizer: Optimizer, tensors: Mapping[str, Tensor]
) -> dict[int, dict[str, Tensor]] | None:
    """Moments as the optimizer numbers its parameters; None where they are not those of its parameters.

    Checkpoints of earlier versions have the number in place of the name.
    """
    parameters = [
        parameter for group in optimizer.param_groups for parameter in group["params"]
    ]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    number_of = {
        names[id(parameter)]: number for number, parameter in enumerate(parameters)
    }
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        parameter, _, name = key.rpartition(".")
        number = int(parameter) if parameter.isdigit() else number_of.get(parameter, -1)
        if not 0 <= number < len(parameters) or (
            tensor.ndim and tensor.shape != parameters[number].shape
        ):
            return None
        state.setdefault(number, {})[name] = tensor
    return state


def _verified_state(run: RunDir, folder: Path) -> TrainState:
    record = read_json(folder / _STATE)
    for name in (_WEIGHTS, _OPTIMIZER):
        if digest_file(folder / name) != record["files"][name]:
            raise ValueError(f"{name} does not have the digest recorded in {_STATE}")
    state = TrainState(**record["state"])
    if state.step != _step(folder):
        raise ValueError(f"{_STATE} is of step {state.step}")
    if not holds_steps(run.steps, state.step, state.steps_sha256):
        raise ValueError(
            f"{run.steps.name} does not hold its steps 1 to {state.step} as they were recorded"
        )
    if state.best_sha256:
        find_best(run, state.best_sha256)
    return state


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step_"))


def _folders(run: RunDir) -> list[Path]:
    """The checkpoint folders, newest first; whatever else somebody put beside them is left alone."""
    found = [
        path
        for path in run.checkpoints.glob("step_*")
        if _NAME.fullmatch(path.name) and path.is_dir()
    ]
    return sorted(found, key=_step, reverse=True)
