"""Collects the labels of a split, row by row, and turns them into arrays."""

from array import array
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ostinato.config import Task
from ostinato.data.distributions import parse_distribution
from ostinato.data.labels import LabelFormat, natural_sorted
from ostinato.data.texts import shown


class TargetArrays(NamedTuple):
    """The labels of a split; see `Rows`."""

    labels: tuple[str, ...]
    targets: NDArray[Any]
    label_keys: NDArray[Any]
    distributions: NDArray[np.float32] | None = None


class Targets(Protocol):
    """Collects labels."""

    def add(self, value: Any) -> Any:
        """Records the label of the next row.

        Args:
            value: the label as read.

        Returns:
            What decides the label, for the digest of the row, ready for JSON.

        Raises:
            ValueError: not a label; the message gives the reason.
        """

    def arrays(self) -> TargetArrays:
        """The labels of all rows so far."""


def collector(label_format: LabelFormat, labels: Sequence[str] | None) -> Targets:
    """Makes what collects labels of this format.

    Args:
        label_format: how labels are written.
        labels: the allowed classes, in order; None takes the classes of the rows, in
            natural order.
    """
    if label_format.distribution:
        return _Distributions(label_format, labels)
    if label_format.task is Task.regression:
        return _Values(label_format)
    return _LabelSets(label_format, labels)


class _Values:
    """The numbers of a regression."""

    def __init__(self, label_format: LabelFormat) -> None:
        self._format = label_format
        self._values: array[float] = array("f")

    def add(self, value: Any) -> Any:
        """See `Targets`."""
        number = self._format.parse(value)
        assert isinstance(number, float)
        self._values.append(number)
        return number

    def arrays(self) -> TargetArrays:
        """See `Targets`."""
        values = np.frombuffer(self._values, np.float32)
        return TargetArrays((), values, values)


class _LabelSets:
    """The class of each row, or its set of classes."""

    def __init__(self, label_format: LabelFormat, labels: Sequence[str] | None) -> None:
        self._format = label_format
        self._labels = labels
        self._sets: dict[tuple[str, ...], int] = {}
        self._keys: array[int] = array("q")

    def add(self, value: Any) -> Any:
        """See `Targets`."""
        names = self._format.parse(value)
        assert isinstance(names, tuple)
        self._keys.append(self._key(names))
        return names

    def _key(self, names: tuple[str, ...]) -> int:
        """Number of a label combination."""
        if names not in self._sets:
            for name in names:
                self._check(name)
            self._sets[names] = len(self._sets)
        return self._sets[names]

    def _check(self, name: str) -> None:
        if self._labels is None or name in self._labels:
            return
        near = get_close_matches(name, self._labels, n=1)
        guess = f" (did you mean {shown(near[0])}?)" if near else ""
        raise ValueError(
            f"the label {shown(name)} does not occur in train{guess}; "
            "correct it, or add rows with this label to train"
        )

    def arrays(self) -> TargetArrays:
        """See `Targets`."""
        labels = self._class_names()
        keys = np.frombuffer(self._keys, np.int64)
        return TargetArrays(labels, self._target_of_each_set(labels)[keys], keys)

    def _class_names(self) -> tuple[str, ...]:
        if self._labels is not None:
            return tuple(self._labels)
        names: set[str] = set()
        for label_set in self._sets:
            names.update(label_set)
        return tuple(natural_sorted(names))

    def _target_of_each_set(self, labels: tuple[str, ...]) -> NDArray[Any]:
        """Target of each label combination.

        Args:
            labels: names of the classes.

        Returns:
            Class numbers, int64 [num_sets] (single-label), or multi-hot rows,
            float32 [num_sets, num_labels].
        """
        class_numbers = {label: number for number, label in enumerate(labels)}
        num_sets = len(self._sets)
        if self._format.task is Task.single_label:
            targets = np.zeros(num_sets, np.int64)
            for (name,), set_number in self._sets.items():
                targets[set_number] = class_numbers[name]
            return targets
        shape = (num_sets, len(labels))
        multi_hot = np.zeros(shape, np.float32)
        for names, set_number in self._sets.items():
            for name in names:
                class_number = class_numbers[name]
                multi_hot[set_number, class_number] = 1
        return multi_hot


class _Distributions:
    """The probability of each class, and the most probable class."""

    def __init__(self, label_format: LabelFormat, labels: Sequence[str] | None) -> None:
        self._written = label_format.distribution
        self._separator = label_format.separator
        self._labels = tuple(labels or natural_sorted(self._written))
        self._probabilities: array[float] = array("f")

    def add(self, value: Any) -> Any:
        """See `Targets`."""
        if set(self._labels) != set(self._written):
            known = ", ".join(map(shown, self._labels))
            raise ValueError(
                f"data.label_distribution names other labels than the model: {known}"
            )
        written = parse_distribution(value, self._written, self._separator)
        by_label = dict(zip(self._written, written, strict=True))
        ordered = {label: by_label[label] for label in self._labels}
        self._probabilities.extend(ordered.values())
        return ordered

    def arrays(self) -> TargetArrays:
        """See `Targets`. Of equally probable classes, the first one is the target."""
        flat = np.frombuffer(self._probabilities, np.float32)
        distributions = flat.reshape(-1, len(self._labels))
        targets = distributions.argmax(axis=1)
        return TargetArrays(self._labels, targets, targets, distributions)
