"""Checks that train has something to learn: its classes."""

from collections.abc import Sequence

import numpy as np

from ostinato.config import DataConfig, Task
from ostinato.data.rows import Rows
from ostinato.data.texts import shown
from ostinato.errors import DataError


def check_classes(names: Sequence[str], cfg: DataConfig, rows: str = "train") -> None:
    """Refuses rows that have nothing to tell apart.

    Args:
        names: the classes of the rows.
        cfg: where the labels come from.
        rows: what the rows are called in the message.

    Raises:
        DataError: one class only, or no label at all.
    """
    question = f"is data.label_column={cfg.label_column} correct?"
    if cfg.task is Task.single_label and len(names) < 2:
        raise DataError(
            f"{rows} has one class only ({shown(names[0])}), so there is nothing to "
            f"learn; {question}"
        )
    if cfg.task is Task.multi_label and not names:
        raise DataError(f"{rows} has no label at all; {question}")


def classes_in(rows: Rows, task: Task) -> list[str]:
    """The classes that occur in the rows, in order; all of them with distributions."""
    if rows.distributions is not None or task is Task.regression:
        return list(rows.labels)
    if task is Task.single_label:
        numbers = np.unique(rows.targets)
    else:
        numbers = np.flatnonzero(rows.targets.any(axis=0))
    return [rows.labels[number] for number in numbers]
