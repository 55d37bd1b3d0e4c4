"""Builds the output rows of predict: column names, and values for JSON and CSV."""

import datetime
import decimal
import json
import math
from collections.abc import Iterable
from typing import Any

from ostinato.config import PredictConfig, Task
from ostinato.data.texts import check_unicode, shown
from ostinato.errors import ConfigError
from ostinato.inference.base_classifier import Classifier

# See https://owasp.org/www-community/attacks/CSV_Injection.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")

_LABEL_SEPARATOR = "|"

_OUTPUT_COLUMNS = {
    Task.single_label: ("label", "score"),
    Task.multi_label: ("labels",),
    Task.regression: ("value",),
}


def is_csv(cfg: PredictConfig) -> bool:
    """Whether the output is csv.

    The name of the output decides, also if it links to a file with another name.
    """
    return cfg.output.lower().endswith(".csv")


def check_names(
    cfg: PredictConfig,
    classifier: Classifier,
    kept: Iterable[str],
) -> None:
    """Checks the names of kept columns and, for csv, of labels.

    Args:
        cfg: options of predict.
        classifier: the model.
        kept: names of the kept columns.

    Raises:
        ConfigError: a kept column has the name of an output column, or a label
            contains the character that separates labels.
    """
    taken = sorted(_output_columns(cfg, classifier).intersection(kept))
    if taken:
        raise ConfigError(
            [
                f"keep: the column {shown(taken[0])} has the name of an output column; "
                "rename it, or keep other columns"
            ]
        )
    if not is_csv(cfg) or classifier.task is not Task.multi_label:
        return
    for label in classifier.labels:
        if _LABEL_SEPARATOR in label:
            raise ConfigError(
                [
                    f"output={cfg.output}: the label {shown(label)} contains "
                    f"{_LABEL_SEPARATOR!r}, which separates labels in csv; "
                    "give output=FILE.jsonl"
                ]
            )


def _output_columns(cfg: PredictConfig, classifier: Classifier) -> set[str]:
    columns = set(_OUTPUT_COLUMNS[classifier.task])
    if classifier.task is Task.regression:
        return columns
    if is_csv(cfg):
        return columns | {f"score_{label}" for label in classifier.labels}
    return columns | {"scores"}


def json_value(name: str, value: Any) -> Any:
    """Converts a kept value to JSON: NaN becomes null, dates and decimals become text.

    Args:
        name: name of the column.
        value: the value as read.

    Raises:
        ValueError: JSON cannot hold the value.
    """
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        check_unicode(text, f"column {shown(name)}")
        check_unicode(name, "name of a column")
    except (TypeError, RecursionError) as error:
        raise ValueError(
            f"the column {shown(name)} cannot be kept ({error}); keep other columns"
        ) from None
    return value


def csv_row(kept: dict[str, Any], prediction: dict[str, Any]) -> dict[str, Any]:
    """Builds a row for csv: all labels in one cell, one column per score.

    Args:
        kept: values of the kept columns.
        prediction: see `Classifier.predict`.
    """
    row = {name: _csv_value(value) for name, value in kept.items()}
    for name, value in prediction.items():
        if name == "labels":
            row[name] = _LABEL_SEPARATOR.join(value)
        elif name != "scores":
            row[name] = value
    for label, score in prediction.get("scores", {}).items():
        row[f"score_{label}"] = score
    return row


def _csv_value(value: Any) -> Any:
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False)
    return value


def safe_cell(value: Any) -> Any:
    """Quotes a text that a spreadsheet reads as a formula: a single quote before it."""
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return value
