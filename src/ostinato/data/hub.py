"""Rows of a data set on the Hugging Face hub, or of a folder in its layout. Never runs code that a data set brings."""

from collections.abc import Callable, Iterator
from typing import Any

import datasets
from datasets import ClassLabel, Dataset, load_dataset

from ostinato.config import DataConfig
from ostinato.data.columns import Columns, Row
from ostinato.data.files import RowSource
from ostinato.errors import DataError


def open_hub(cfg: DataConfig, split: str, columns: Columns) -> RowSource:
    """Downloads a split on first use and opens it.

    Raises:
        DataError: not found, not reachable, or a column that is not there.
    """
    name = f"{cfg.name}{f'/{cfg.subset}' if cfg.subset else ''}[{split}]"
    datasets.disable_progress_bars()
    try:
        table = load_dataset(
            str(cfg.name), cfg.subset, revision=cfg.revision, split=split
        )
    # The hub client's errors have no common class: HTTP, missing, offline, unknown split or subset, data set scripts.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(
            f"data.name={cfg.name}: {name} could not be loaded ({reason}); check data.name, data.subset, data.*_split "
            "and the network, or use data=files"
        ) from error
    columns.check(table.column_names, name)
    return RowSource(name, _read(table, columns))


def _read(table: Dataset, columns: Columns) -> Iterator[Row]:
    name_of = _names(table.features[columns.label])
    number = 0
    for batch in table.select_columns(list(columns.wanted.values())).iter(
        batch_size=1000
    ):
        pairs = (
            batch[columns.pair] if columns.pair else [None] * len(batch[columns.text])
        )
        for text, pair, label in zip(
            batch[columns.text], pairs, batch[columns.label], strict=True
        ):
            number += 1
            yield Row(f"row {number}", text, pair, name_of(label))


def _names(feature: Any) -> Callable[[Any], Any]:
    """Class numbers become the names that the data set gives them; -1 (a hidden label) and null become None."""
    if isinstance(feature, ClassLabel):
        return lambda label: (
            feature.names[label] if label is not None and label >= 0 else None
        )
    inner = getattr(feature, "feature", None)
    if isinstance(inner, ClassLabel):
        return lambda labels: [inner.names[label] for label in labels]
    return lambda label: label
