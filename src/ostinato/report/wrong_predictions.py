"""Finds the wrong predictions of which a model is most confident."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.config import Task
from ostinato.data.splits import Split
from ostinato.report.row_texts import row_texts
from ostinato.scoring.arrays import Floats
from ostinato.scoring.calibration import Calibration
from ostinato.scoring.metrics import probabilities

_MAX_SHOWN = 20


@dataclass(frozen=True)
class WrongPrediction:
    """A row with a wrong prediction.

    Attributes:
        row: number of the row in the split, from 1.
        confidence: probability of the wrong prediction; for regression, the distance
            between prediction and label.
        predicted: prediction of the model.
        true: label in the data.
        texts: one text, or two for pairs.
    """

    row: int
    confidence: float
    predicted: str
    true: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class _Compared:
    """Predictions and labels of all rows; `confidence` [n] is 0 where both agree."""

    confidence: Floats
    predicted: Sequence[str]
    true: Sequence[str]


def find_wrong_predictions(
    task: Task,
    logits: NDArray[np.float32],
    labels: NDArray[Any],
    names: Sequence[str],
    split: Split,
    calibration: Calibration | None,
) -> list[WrongPrediction]:
    """Finds the wrong predictions, most confident first.

    Args:
        task: what a label is.
        logits: outputs of the model [n, C].
        labels: class ids [n] | 0 and 1 [n, C] | values [n].
        names: names of the classes.
        split: the rows, in the order of `logits`.
        calibration: gives calibrated probabilities; None uses those of the model.
    """
    scaled = logits if calibration is None else calibration.scaled(logits)
    values = probabilities(task, scaled)
    if task is Task.regression:
        compared = _compare_values(values[:, 0], labels)
    elif task is Task.single_label:
        compared = _compare_classes(values, labels, names)
    else:
        compared = _compare_label_sets(values, labels, names, calibration)

    confidence = compared.confidence
    order = np.argsort(-confidence, kind="stable")[:_MAX_SHOWN]
    found = []
    for row, texts in zip(order, row_texts(split, order), strict=True):
        if confidence[row] > 0:
            wrong = WrongPrediction(
                row=int(row) + 1,
                confidence=float(confidence[row]),
                predicted=compared.predicted[row],
                true=compared.true[row],
                texts=texts,
            )
            found.append(wrong)
    return found


def _compare_values(values: Floats, labels: NDArray[Any]) -> _Compared:
    predicted = [f"{value:.4g}" for value in values]
    true = [f"{value:.4g}" for value in labels]
    return _Compared(np.abs(values - labels), predicted, true)


def _compare_classes(
    values: Floats,
    labels: NDArray[Any],
    names: Sequence[str],
) -> _Compared:
    classes = values.argmax(axis=1)
    confidence = np.where(classes == labels, 0, values.max(axis=1))
    predicted = [names[int(number)] for number in classes]
    true = [names[int(number)] for number in labels]
    return _Compared(confidence, predicted, true)


def _compare_label_sets(
    values: Floats,
    labels: NDArray[Any],
    names: Sequence[str],
    calibration: Calibration | None,
) -> _Compared:
    thresholds: Any = 0.5
    if calibration and calibration.thresholds:
        thresholds = np.asarray(calibration.thresholds)
    predicted = values > thresholds
    true = labels.astype(bool)
    of_the_prediction = np.where(predicted, values, 1 - values)
    wrong = np.where(predicted == true, 0, of_the_prediction)
    return _Compared(
        wrong.max(axis=1), _join_names(predicted, names), _join_names(true, names)
    )


def _join_names(chosen: NDArray[np.bool_], names: Sequence[str]) -> list[str]:
    """Names of the chosen labels of each row, separated by commas."""
    joined = []
    for row in chosen:
        present = [names[int(number)] for number in np.flatnonzero(row)]
        joined.append(", ".join(present) or "none")
    return joined
