"""Makes probabilities honest: a temperature, and for multi-label a threshold per class, both from validation alone.

They lie beside the weights in `best/calibration.json` and are bound to them by digest. The weights never change, nor do
the predicted classes of single-label models.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from scipy.optimize import brentq
from scipy.special import expit, softmax

from ostinato.config import Task
from ostinato.errors import ConfigError
from ostinato.record.digests import digest_file
from ostinato.run_dir import RunDir
from ostinato.scoring.metrics import (
    Floats,
    expected_calibration_error,
    probabilities,
    row_losses,
)
from ostinato.storage.atomic import write_json

MIN_ERRORS = 10
"""Errors among the validation rows below which a temperature under 1 is not taken."""

_STEPS = 60  # powers of 8 on either side of 1 / the largest margin: more than the range of fp32
_SAME = 1e-5  # probabilities whose logits differ by less than about this can swap with another batch size

Probability = Annotated[float, Field(ge=0, le=1)]


@dataclass(config=ConfigDict(extra="forbid"), frozen=True, kw_only=True)
class Calibration:
    """What turns logits into probabilities that can be relied on.

    Attributes:
        task: single_label or multi_label.
        labels: names of the classes.
        temperature: what logits are divided by (Guo et al. 2017, On Calibration of Modern Neural Networks).
        thresholds: calibrated probability above which each label is predicted; multi-label only.
        num_rows: validation rows that it was fitted on.
        loss: mean loss on them, before and after.
        ece: calibration error on them, before and after; single-label only.
        weights: SHA-256 of the weights file that it belongs to; None before it is saved.
    """

    task: Task
    labels: tuple[str, ...]
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    thresholds: tuple[Probability, ...] | None = None
    num_rows: int
    loss: tuple[float, float]
    ece: tuple[float, float] | None = None
    weights: str | None = None

    def scaled(self, logits: NDArray[np.float32]) -> NDArray[Any]:
        """Logits [n, C] at this temperature, in float64."""
        return logits.astype(np.float64) / self.temperature


def calibrate(
    task: Task, logits: NDArray[np.float32], labels: NDArray[Any], names: Sequence[str]
) -> Calibration:
    """Fits temperature and thresholds.

    A temperature that the rows do not decide stays 1, see `fit_temperature`.

    Args:
        task: single_label or multi_label.
        logits: of the validation rows [n, C].
        labels: class ids [n] | 0 and 1 [n, C].
        names: names of the classes.
    """
    assert task is not Task.regression
    temperature = fit_temperature(task, logits, labels)
    scaled: NDArray[Any] = logits.astype(np.float64) / temperature
    thresholds = (
        None
        if task is Task.single_label
        else tune_thresholds(probabilities(task, scaled), labels)
    )
    ece = (
        (_ece(logits, labels), _ece(scaled, labels))
        if task is Task.single_label
        else None
    )
    return Calibration(
        task=task,
        labels=tuple(names),
        temperature=temperature,
        thresholds=thresholds,
        num_rows=len(labels),
        loss=(
            float(row_losses(task, logits, labels).mean()),
            float(row_losses(task, scaled, labels).mean()),
        ),
        ece=ece,
    )


def fit_temperature(
    task: Task, logits: NDArray[np.float32], labels: NDArray[Any]
) -> float:
    """The temperature with the smallest mean negative log-likelihood; 1 where the rows decide none.

    The loss is convex in 1/T, so its slope rises and has one zero. There is none without an error (the loss falls for
    ever as T falls) or where the wrong logits are as high as the true ones on average (it falls for ever as T rises).
    A temperature below 1 makes every probability more extreme on the evidence of the errors alone: with fewer than
    `MIN_ERRORS` of them it stays 1.

    Args:
        task: single_label or multi_label.
        logits: of the validation rows [n, C].
        labels: class ids [n] | 0 and 1 [n, C].
    """
    margins = _margins(task, logits, labels)
    largest = np.abs(margins).max()
    num_errors = np.count_nonzero(
        (margins > 0).any(axis=1) if task is Task.single_label else margins > 0
    )
    if num_errors == 0 or margins.sum() >= 0:
        return 1.0

    def slope(log_inverse: float) -> float:
        scaled = margins * np.exp(log_inverse)
        shares = softmax(scaled, axis=1) if task is Task.single_label else expit(scaled)
        return float((margins / largest * shares).sum())

    start, steps = -np.log(largest), np.log(8) * np.arange(_STEPS)
    low = next((x for x in start - steps if slope(x) < 0), None)
    high = next((x for x in start + steps if slope(x) > 0), None)
    if low is None or high is None:
        return 1.0  # the wrong logits are as high as the true ones, but for rounding
    temperature = float(np.exp(-brentq(slope, low, high, xtol=1e-12)))
    return temperature if temperature > 1 or num_errors >= MIN_ERRORS else 1.0


def _margins(task: Task, logits: NDArray[Any], labels: NDArray[Any]) -> Floats:
    """How far each class lies above the true one [n, C] (itself: 0) | each label on the wrong side of 0 [n, C]."""
    scores: Floats = logits.astype(np.float64)
    if task is Task.single_label:
        return np.asarray(scores - scores[np.arange(len(labels)), labels][:, None])
    return np.asarray(np.where(labels > 0, -scores, scores))


def tune_thresholds(values: Floats, labels: NDArray[Any]) -> tuple[float, ...]:
    """For each label the threshold with the best F1, half-way between two probabilities; of equal ones the nearest 0.5.

    Probabilities that rounding can swap count as one. A label that no row or every row carries decides nothing and
    keeps 0.5.

    Args:
        values: probabilities [n, C].
        labels: 0 and 1 [n, C].
    """
    return tuple(
        _threshold(column, truth > 0)
        for column, truth in zip(values.T, labels.T, strict=True)
    )


def _threshold(values: Floats, truth: NDArray[np.bool_]) -> float:
    if not truth.any() or truth.all():
        return 0.5
    order = np.argsort(values)
    values, truth = values[order], truth[order]
    apart = np.diff(values) > _SAME * np.minimum(values[1:], 1 - values[:-1])
    starts = np.concatenate([[0], np.flatnonzero(apart) + 1])
    candidates = np.concatenate(
        [[values[0] / 2], (values[starts[1:] - 1] + values[starts[1:]]) / 2]
    )
    predicted = len(values) - starts  # rows at or above each level
    hits = np.cumsum(truth[::-1])[::-1][starts]
    f1 = np.where(
        candidates < values[starts], 2 * hits / (predicted + truth.sum()), 0
    )  # none lies below 0
    best = np.flatnonzero(
        f1 == f1.max()
    )  # quotients of integers: equal ones are equal to the last bit
    return float(candidates[best[np.argmin(np.abs(candidates[best] - 0.5))]])


def _ece(logits: NDArray[Any], labels: NDArray[Any]) -> float:
    values = probabilities(Task.single_label, logits)
    return expected_calibration_error(
        values.max(axis=1), values.argmax(axis=1) == labels
    )


def save_calibration(run: RunDir, calibration: Calibration) -> None:
    """Writes it beside the best weights, bound to them."""
    values = TypeAdapter(Calibration).dump_python(calibration, mode="json")
    write_json(run.calibration, values | {"weights": digest_file(run.best_weights)})


def load_calibration(
    folder: Path, task: Task, labels: Sequence[str], weights: str | None = None
) -> Calibration:
    """Reads the calibration of the model in a folder.

    Args:
        folder: where it lies.
        task: of the model.
        labels: names of its classes.
        weights: SHA-256 of the weights that it must belong to; None takes those beside it.

    Raises:
        ConfigError: missing, damaged, or of another model.
    """
    names = RunDir(folder)
    path, beside = folder / names.calibration.name, folder / names.best_weights.name
    try:
        calibration = TypeAdapter(Calibration).validate_json(path.read_bytes())
    except FileNotFoundError:
        why = (
            "regression has none"
            if task is Task.regression
            else "train again with this version"
        )
        raise ConfigError(
            [f"calibrated=true: {path} is missing; {why}, or leave calibrated out"]
        ) from None
    except (OSError, ValidationError) as error:
        raise ConfigError(
            [f"{path}: damaged or not readable ({' '.join(str(error).split())[:160]})"]
        ) from None
    fits = calibration.task is task and calibration.labels == tuple(labels)
    fits = fits and len(calibration.thresholds or labels) == len(labels)
    fits = fits and (task is Task.multi_label) == (calibration.thresholds is not None)
    if weights is None and beside.is_file():
        weights = digest_file(beside)
    if not fits or weights is None or weights != calibration.weights:
        raise ConfigError(
            [
                f"{path}: belongs to other weights than those beside it; restore it, or train again"
            ]
        )
    return calibration
