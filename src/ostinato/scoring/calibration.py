"""Calibration: a temperature, and for multi-label one threshold per label.

Both are fitted on validation rows only. They are saved beside the weights, in
`best/calibration.json`, with the digest of the weights. Calibration changes neither the
weights nor the predicted classes of single-label models.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ostinato.config import Task
from ostinato.errors import ConfigError
from ostinato.record.digests import digest_file
from ostinato.redaction import redact
from ostinato.run_dir import RunDir, weights_in
from ostinato.scoring.arrays import Distributions, Labels, Logits
from ostinato.scoring.calibration_error import calibration_error
from ostinato.scoring.metrics import mean_loss, probabilities
from ostinato.scoring.temperature import fit_temperature
from ostinato.scoring.thresholds import tune_thresholds
from ostinato.storage.atomic import write_json

Probability = Annotated[float, Field(ge=0, le=1)]


@dataclass(config=ConfigDict(extra="forbid"), frozen=True, kw_only=True)
class Calibration:
    """What converts logits to calibrated probabilities.

    Attributes:
        task: single_label or multi_label.
        labels: names of the classes.
        temperature: what logits are divided by, see `fit_temperature`.
        thresholds: calibrated probability above which each label is predicted;
            multi-label only.
        num_rows: number of validation rows that the calibration was fitted on.
        loss: mean loss on these rows, before and after.
        ece: expected calibration error on these rows, before and after; single-label
            only.
        weights: SHA-256 of the weights file; None before the calibration is saved.
    """

    task: Task
    labels: tuple[str, ...]
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    thresholds: tuple[Probability, ...] | None = None
    num_rows: int
    loss: tuple[float, float]
    ece: tuple[float, float] | None = None
    weights: str | None = None

    def scaled(self, logits: Logits) -> NDArray[Any]:
        """Divides logits [n, C] by the temperature, in float64."""
        return logits.astype(np.float64) / self.temperature


def calibrate(
    task: Task,
    logits: Logits,
    labels: Labels,
    names: Sequence[str],
    distributions: Distributions | None = None,
) -> Calibration:
    """Fits the temperature and the thresholds.

    The temperature stays 1 if the rows do not determine it, see `fit_temperature`.

    Args:
        task: single_label or multi_label.
        logits: logits of the validation rows [n, C].
        labels: class ids [n], or 0 and 1 [n, C].
        names: names of the C classes.
        distributions: probabilities of the classes [n, C]. The temperature then
            minimises the loss against them; ece stays that of the class ids.
    """
    assert task is not Task.regression
    temperature = fit_temperature(task, logits, labels, distributions)
    scaled: NDArray[Any] = logits.astype(np.float64) / temperature
    loss_before = mean_loss(task, logits, labels, distributions)
    loss_after = mean_loss(task, scaled, labels, distributions)
    thresholds = None
    ece = None
    if task is Task.single_label:
        ece_before = calibration_error(logits, labels)
        ece_after = calibration_error(scaled, labels)
        ece = (ece_before, ece_after)
    else:
        values = probabilities(task, scaled)
        thresholds = tune_thresholds(values, labels)
    return Calibration(
        task=task,
        labels=tuple(names),
        temperature=temperature,
        thresholds=thresholds,
        num_rows=len(labels),
        loss=(loss_before, loss_after),
        ece=ece,
    )


def save_calibration(run: RunDir, calibration: Calibration) -> None:
    """Writes the calibration beside the best weights, with their digest."""
    record = TypeAdapter(Calibration).dump_python(calibration, mode="json")
    record["weights"] = digest_file(run.best_weights)
    write_json(run.calibration, record)


def load_calibration(
    folder: Path,
    task: Task,
    labels: Sequence[str],
    weights: str | None = None,
) -> Calibration:
    """Reads the calibration of the model in a folder.

    Args:
        folder: the folder of the model.
        task: the task of the model.
        labels: names of its classes.
        weights: SHA-256 of the weights that the calibration must belong to; None takes
            the weights file in the folder.

    Raises:
        ConfigError: if the calibration is missing, damaged, or of another model.
    """
    names = RunDir(folder)
    path = folder / names.calibration.name
    weights_file = weights_in(folder)
    calibration = _read(path, task)
    if weights is None and weights_file.is_file():
        weights = digest_file(weights_file)
    same_weights = weights is not None and weights == calibration.weights
    if not same_weights or not _fits(calibration, task, labels):
        raise ConfigError(
            [
                f"{path}: belongs to other weights, not to those beside it; "
                "restore the file, or train again"
            ]
        )
    return calibration


def _read(path: Path, task: Task) -> Calibration:
    try:
        return TypeAdapter(Calibration).validate_json(path.read_bytes())
    except FileNotFoundError:
        reason = "train again with this version"
        if task is Task.regression:
            reason = "regression models have no calibration"
        raise ConfigError(
            [f"calibrated=true: {path} is missing; {reason}, or omit calibrated"]
        ) from None
    except (OSError, ValidationError) as error:
        reason = " ".join(redact(str(error)).split())[:160]
        raise ConfigError([f"{path}: damaged or not readable ({reason})"]) from None


def _fits(
    calibration: Calibration,
    task: Task,
    labels: Sequence[str],
) -> bool:
    """Returns whether a calibration is for this task and these labels."""
    if calibration.task is not task:
        return False
    if calibration.labels != tuple(labels):
        return False
    thresholds = calibration.thresholds
    if task is Task.single_label:
        return thresholds is None
    if thresholds is None:
        return False
    return len(thresholds) == len(labels)
