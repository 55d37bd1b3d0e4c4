"""Classification metrics by scikit-learn, where 0/0 is 0.

The functions import scikit-learn themselves, because the import takes over a second and
would delay the start of training.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.scoring.arrays import Booleans, Floats, Integers, Labels

PerClass = dict[str, dict[str, float | int]]
"""Label name to the metrics of this label."""


def f1(
    labels: Labels,
    predicted: NDArray[Any],
    average: str,
    columns: Sequence[int] | None = None,
) -> float:
    """Computes an averaged F1.

    Args:
        labels: class ids [n], or 0 and 1 [n, C].
        predicted: predictions in the same format.
        average: macro, micro or weighted.
        columns: classes to average over; None takes all that occur.
    """
    from sklearn.metrics import f1_score

    value = f1_score(
        labels, predicted, labels=columns, average=average, zero_division=0
    )
    return float(value)


def micro_and_macro_f1(labels: Integers, predicted: NDArray[Any]) -> dict[str, float]:
    """Computes micro_f1 and macro_f1 over all labels.

    Args:
        labels: 0 and 1 [n, C].
        predicted: 0 and 1 [n, C].
    """
    columns = range(labels.shape[1])
    true_sets = _indicator(labels)
    predicted_sets = _indicator(predicted)
    return {
        "micro_f1": f1(true_sets, predicted_sets, "micro", columns),
        "macro_f1": f1(true_sets, predicted_sets, "macro", columns),
    }


def mcc(labels: Integers, predicted: Integers) -> float:
    """Computes the Matthews correlation coefficient; 0 for a constant prediction.

    Args:
        labels: class ids [n].
        predicted: class ids [n].
    """
    from sklearn.metrics import matthews_corrcoef

    is_constant = len(np.unique(predicted)) == 1
    if is_constant:
        return 0.0
    return float(matthews_corrcoef(labels, predicted))


def per_class_metrics(
    is_true: Booleans,
    is_predicted: Booleans,
    scores: Floats,
    names: Sequence[str],
) -> PerClass:
    """Computes precision, recall, f1, support and auroc of each class.

    The auroc is omitted if all rows or no rows have the class.

    Args:
        is_true: whether a row has the class [n, C].
        is_predicted: whether the class is predicted [n, C].
        scores: numbers that rank the rows of each class [n, C].
        names: names of the C classes.
    """
    from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

    precisions, recalls, f1s, supports = precision_recall_fscore_support(
        _indicator(is_true),
        _indicator(is_predicted),
        labels=range(len(names)),
        zero_division=0,
    )
    result: PerClass = {}
    for column, name in enumerate(names):
        support = int(supports[column])
        result[name] = {
            "precision": float(precisions[column]),
            "recall": float(recalls[column]),
            "f1": float(f1s[column]),
            "support": support,
        }
        if 0 < support < len(is_true):
            truth = is_true[:, column]
            area = roc_auc_score(truth, scores[:, column])
            result[name]["auroc"] = float(area)
    return result


def _indicator(values: NDArray[Any]) -> NDArray[Any]:
    """Prepares 0 and 1 [n, C] for scikit-learn.

    A single column gets a second, empty one, because scikit-learn reads a single column
    as class ids.
    """
    if values.shape[1] > 1:
        return values
    one_more_column = ((0, 0), (0, 1))
    return np.pad(values, one_more_column)
