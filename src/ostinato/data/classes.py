"""Checks that train has something to learn: its classes."""

import numpy as np

from ostinato.config import DataConfig, Task
from ostinato.data.rows import Rows
from ostinato.data.texts import shown
from ostinato.errors import DataError


def check_classes(train: Rows, cfg: DataConfig) -> None:
    """Refuses rows that have nothing to tell apart.

    Raises:
        DataError: one class only, or no label at all.
    """
    question = f"is data.label_column={cfg.label_column} correct?"
    if cfg.task is Task.single_label and len(train.labels) < 2:
        only_class = shown(train.labels[0])
        raise DataError(
            f"train has one class only ({only_class}), so there is nothing to learn; "
            f"{question}"
        )
    if cfg.task is Task.multi_label and not train.labels:
        raise DataError(f"train has no label at all; {question}")


def lost_classes(train: Rows, cfg: DataConfig) -> list[str]:
    """Names the classes of train that have no row left, in a line.

    Raises:
        DataError: single-label rows have one class only.
    """
    if cfg.task is Task.regression or train.distributions is not None:
        return []
    if cfg.task is Task.single_label:
        left = set(np.unique(train.targets).tolist())
    else:
        left = set(np.flatnonzero(train.targets.any(axis=0)).tolist())
    if cfg.task is Task.single_label and len(left) < 2:
        raise DataError(
            "train has one class only without the rows of weight 0 "
            f"(data.weight_column={cfg.weight_column}), so there is nothing to learn"
        )
    lost = [
        shown(name) for number, name in enumerate(train.labels) if number not in left
    ]
    if not lost:
        return []
    return [f"train: only rows of weight 0 have the labels {', '.join(lost)}"]
