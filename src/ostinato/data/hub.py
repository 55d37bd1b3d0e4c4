"""Reads a data set of the Hugging Face Hub, or a local folder in the same layout.

Code in a data set repository is never run.
"""

from collections.abc import Callable, Iterator
from typing import Any

import datasets
from datasets import ClassLabel, Dataset, load_dataset

from ostinato.config import DataConfig
from ostinato.data.columns import Columns, Row
from ostinato.data.files import RowSource
from ostinato.errors import DataError

_BATCH_SIZE = 1000


def open_hub(
    cfg: DataConfig,
    split: str,
    columns: Columns,
) -> RowSource:
    """Opens a split; downloads it on first use.

    Args:
        cfg: name, subset and revision of the data set.
        split: name of the split on the Hub.
        columns: the columns to read.

    Raises:
        DataError: the data set or a column is missing, or the Hub cannot be reached.
    """
    subset = f"/{cfg.subset}" if cfg.subset else ""
    name = f"{cfg.name}{subset}[{split}]"
    datasets.disable_progress_bars()
    try:
        table = load_dataset(
            str(cfg.name),
            cfg.subset,
            revision=cfg.revision,
            split=split,
        )
    # The errors of the Hub client have no common class: HTTP errors, a missing data
    # set, no network, an unknown split or subset, a data set with a script.
    except Exception as error:
        text = str(error).strip() or type(error).__name__
        reason = text.splitlines()[0]
        raise DataError(
            f"data.name={cfg.name}: {name} could not be loaded ({reason}); "
            "check data.name, data.subset, data.*_split and the network, "
            "or use data=files"
        ) from error
    columns.check(table.column_names, name)
    return RowSource(name, _read(table, columns))


def _read(table: Dataset, columns: Columns) -> Iterator[Row]:
    names = columns.names or table.column_names
    feature = table.features[columns.label] if columns.label else None
    convert_label = _label_converter(feature)
    number = 0
    for batch in table.select_columns(names).iter(batch_size=_BATCH_SIZE):
        for fields in zip(*(batch[name] for name in names), strict=True):
            number += 1
            values = dict(zip(names, fields, strict=True))
            if columns.label:
                values[columns.label] = convert_label(values[columns.label])
            yield columns.row(f"row {number}", values)


def _label_converter(feature: Any) -> Callable[[Any], Any]:
    """Returns a function that turns class numbers into the names of the data set.

    A hidden label (-1) and a missing one become None.
    """
    if isinstance(feature, ClassLabel):
        return lambda number: _class_name(feature, number)
    inner = getattr(feature, "feature", None)
    if isinstance(inner, ClassLabel):
        return lambda numbers: [inner.names[number] for number in numbers]
    return lambda label: label


def _class_name(feature: ClassLabel, number: int | None) -> str | None:
    if number is None or number < 0:
        return None
    name: str = feature.names[number]
    return name
