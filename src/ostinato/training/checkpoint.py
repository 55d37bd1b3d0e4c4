"""Checkpoints at optimizer-step boundaries: atomic, verified by digest, newest kept.

A checkpoint holds weights, optimizer state and integers. There is no generator state to
save, because randomness is a function of the step. The best weights so far belong to
it: `kept_best/` holds one copy of each that a kept checkpoint needs. Of a model with an
adapter, only the weights of the adapter and the head are kept.
"""

import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from safetensors.torch import load_file
from torch import nn
from torch.optim import Optimizer

from ostinato.errors import ResumeRefused
from ostinato.model.adapter import load_own_weights, own_weights, shapes_of
from ostinato.record.digests import digest_file, digest_unless_known
from ostinato.record.fingerprint import holds_steps
from ostinato.run_dir import CheckpointDir, RunDir, read_json, write_record
from ostinato.storage.atomic import atomic_folder
from ostinato.training.averaging import WeightAverage
from ostinato.training.kept_best import (
    READ_ERRORS,
    delete_unused_best,
    find_best,
    keep_best,
)
from ostinato.training.tensor_files import (
    moments_by_name,
    moments_by_number,
    save_tensors,
    with_tied_tensors,
)

log = logging.getLogger(__name__)


class CheckpointParts(NamedTuple):
    """What a checkpoint holds the tensors of.

    Attributes:
        model: the classifier.
        optimizer: its optimizer.
        average: the moving average of its weights, if there is one.
    """

    model: nn.Module
    optimizer: Optimizer
    average: WeightAverage | None = None


@dataclass
class TrainState:
    """The progress of a training: what decides how it continues, except the weights.

    Attributes:
        step: optimizer steps done.
        best: best monitored validation metric so far; None before the first evaluation.
        best_step: the step of this metric.
        best_sha256: digest of the weights file in `best/`.
        without_improvement: evaluations since then.
        steps_sha256: digest of the lines of `steps.jsonl` up to `step`; empty in
            checkpoints of earlier versions.
        validation: every evaluation so far: {"step": ..., metric: ...}.
        scaler: fp16's loss scale and its counter; empty in other precisions.
        monitor: the validation metric that chose the best weights; empty in checkpoints
            of earlier versions.
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
    run: RunDir, state: TrainState, parts: CheckpointParts, keep: int
) -> Path:
    """Writes the checkpoint of `state.step`, with a copy of its best weights.

    Then deletes what is not needed any more: checkpoints of later steps (a run that
    went back computes those steps again), checkpoints before the `keep` newest complete
    ones, and best weights that no kept checkpoint needs.

    Args:
        run: the run folder.
        state: the progress of the training.
        parts: model, optimizer and average.
        keep: number of checkpoints to keep.

    Returns:
        The folder of the checkpoint.

    Raises:
        OSError: the disk is full, the folder is not writable, or the best weights
            changed on disk; earlier checkpoints are kept.
    """
    keep_best(run, state.best_sha256)

    target = run.checkpoint(state.step)
    with atomic_folder(target) as temporary:
        new = CheckpointDir(temporary)
        save_tensors(own_weights(parts.model), new.weights)
        moments = moments_by_name(parts.model, parts.optimizer)
        save_tensors(moments, new.optimizer)
        paths = [new.weights, new.optimizer]
        if parts.average is not None:
            save_tensors(parts.average.weights, new.average)
            paths.append(new.average)
        files = {path.name: digest_unless_known(path) for path in paths}
        write_record(new.state, {"state": asdict(state), "files": files})

    delete_later(run, state.step)
    _delete_older(run, keep)
    delete_unused_best(run)
    return target


def _delete_older(run: RunDir, keep: int) -> None:
    """Deletes the checkpoints before the `keep` newest complete ones.

    A damaged checkpoint takes the place of no complete one.
    """
    complete = 0
    for checkpoint in run.all_checkpoints():
        if complete == keep:
            shutil.rmtree(checkpoint.path)
            continue
        try:
            _verified_state(run, checkpoint, digest_unless_known)
            complete += 1
        except READ_ERRORS as error:
            log.warning("%s is damaged: %s", checkpoint.path, error)


def load_newest(run: RunDir, parts: CheckpointParts) -> TrainState | None:
    """Loads the newest complete checkpoint into model, optimizer and average.

    A checkpoint is complete if its files, the lines of its steps in `steps.jsonl` and
    its best weights have the digests that it recorded. A damaged checkpoint is named
    and skipped.

    Returns:
        The state to resume from; None if there is no complete checkpoint.

    Raises:
        ResumeRefused: the checkpoint is of another model.
    """
    for checkpoint in run.all_checkpoints():
        try:
            state = _verified_state(run, checkpoint)
        except READ_ERRORS as error:
            log.warning("%s is damaged and is skipped: %s", checkpoint.path, error)
            continue
        _load(run, checkpoint, parts)
        return state
    return None


def delete_later(run: RunDir, step: int) -> None:
    """Deletes the checkpoints after `step`; a run must not mix two histories."""
    for checkpoint in run.all_checkpoints():
        if checkpoint.step > step:
            path = checkpoint.path
            log.info("deleting %s: the run resumes from step %d", path, step)
            shutil.rmtree(path)


def _verified_state(
    run: RunDir,
    checkpoint: CheckpointDir,
    digest: Callable[[Path], str] = digest_file,
) -> TrainState:
    """The state of a checkpoint, if it is complete."""
    record = read_json(checkpoint.state)
    paths = [checkpoint.weights, checkpoint.optimizer]
    if checkpoint.average.name in record["files"]:
        paths.append(checkpoint.average)
    for path in paths:
        if digest(path) != record["files"][path.name]:
            recorded = f"the digest recorded in {checkpoint.state.name}"
            raise ValueError(f"{path.name} does not have {recorded}")
    state = TrainState(**record["state"])
    if state.step != checkpoint.step:
        raise ValueError(f"{checkpoint.state.name} is of step {state.step}")
    if not holds_steps(run.steps, state.step, state.steps_sha256):
        lines = f"its steps 1 to {state.step} as they were recorded"
        raise ValueError(f"{run.steps.name} does not hold {lines}")
    if state.best_sha256:
        find_best(run, state.best_sha256, digest)
    return state


def _load(run: RunDir, checkpoint: CheckpointDir, parts: CheckpointParts) -> None:
    model, optimizer, average = parts
    weights = with_tied_tensors(model, load_file(checkpoint.weights))
    if shapes_of(weights) != shapes_of(own_weights(model)):
        raise _refused(run, checkpoint, "is of another model")
    moments = moments_by_number(model, optimizer, load_file(checkpoint.optimizer))
    if moments is None:
        raise _refused(run, checkpoint, "has moments of another optimizer")
    if checkpoint.average.exists() != (average is not None):
        raise _refused(run, checkpoint, "was written with another training.ema_decay")
    if average is not None and not average.load(load_file(checkpoint.average)):
        raise _refused(run, checkpoint, "has the average of another model")

    load_own_weights(model, weights)
    # Rates and decays are functions of config and step: they are never restored.
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})


def _refused(run: RunDir, checkpoint: CheckpointDir, why: str) -> ResumeRefused:
    name = checkpoint.path.name
    return ResumeRefused([f"resume={run.path}: {name} {why}; start a new run"])
