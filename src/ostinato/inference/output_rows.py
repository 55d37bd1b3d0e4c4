"""Rows of the output of predict: which names they have, and how a value is written in JSON and CSV."""

import datetime
import decimal
import json
import math
from collections.abc import Iterable
from typing import Any

from ostinato.config import PredictConfig, Task
from ostinato.data.texts import check_unicode, shown
from ostinato.errors import ConfigError
from ostinato.inference.classifier import Classifier

_FORMULA = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
)  # https://owasp.org/www-community/attacks/CSV_Injection
_JOIN = "|"


def is_csv(cfg: PredictConfig) -> bool:
    """Whether the output is csv: its name decides, also where it is a link to a file of another name."""
    return cfg.output.lower().endswith(".csv")


def check_names(
    cfg: PredictConfig, classifier: Classifier, kept: Iterable[str]
) -> None:
    """Refuses kept columns that have the name of an output column, and labels that one cell cannot hold.

    Raises:
        ConfigError: such a column or label.
    """
    as_csv = is_csv(cfg)
    own = {
        Task.single_label: ["label", "score"],
        Task.multi_label: ["labels"],
        Task.regression: ["value"],
    }
    names = {*own[classifier.task]}
    if classifier.task is not Task.regression:
        names |= (
            {f"score_{label}" for label in classifier.labels} if as_csv else {"scores"}
        )
    if double := sorted(names.intersection(kept)):
        raise ConfigError(
            [
                f"keep: the column {shown(double[0])} has the name of an output column; rename it, or name others to keep"
            ]
        )
    joined = [label for label in classifier.labels if _JOIN in label]
    if as_csv and classifier.task is Task.multi_label and joined:
        raise ConfigError(
            [f"output={cfg.output}: the label {shown(joined[0])} contains {_JOIN!r}, which separates labels in csv; "
             "give output=FILE.jsonl"]
        )  # fmt: skip


def plain(name: str, value: Any) -> Any:
    """A kept value as JSON can hold it: missing numbers (NaN) become null, dates and decimals text.

    Raises:
        ValueError: a value that JSON cannot hold.
    """
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    try:
        check_unicode(
            json.dumps(value, ensure_ascii=False, allow_nan=False),
            f"column {shown(name)}",
        )
        check_unicode(name, "name of a column")
    except (TypeError, RecursionError) as error:
        raise ValueError(
            f"the column {shown(name)} cannot be kept ({error}); name others to keep"
        ) from None
    return value


def flat(kept: dict[str, Any], prediction: dict[str, Any]) -> dict[str, Any]:
    """A row for csv: the labels of a row in one cell, a column for each score."""
    row = {name: _cell(value) for name, value in kept.items()}
    row |= {name: value for name, value in prediction.items() if name != "scores"}
    if "labels" in prediction:
        row["labels"] = _JOIN.join(prediction["labels"])
    return row | {
        f"score_{name}": value for name, value in prediction.get("scores", {}).items()
    }


def _cell(value: Any) -> Any:
    return (
        json.dumps(value, ensure_ascii=False)
        if isinstance(value, bool | list | dict)
        else value
    )


def safe_cell(value: Any) -> Any:
    """The cell with a single quote before it where a spreadsheet would take its text for a formula."""
    return (
        f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
    )
