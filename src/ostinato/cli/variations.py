"""The values of a sweep: one command line for each swept value."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from hydra.core.override_parser.types import IntervalSweep, Override


@dataclass(frozen=True)
class Variation:
    """A command line of a sweep, with one value for each swept key.

    Attributes:
        overrides: the command line.
        changed: the one override that differs from the first variation; None in the
            first.
    """

    overrides: list[str]
    changed: str | None = None


def variations(overrides: list[Override]) -> Iterator[Variation]:
    """Varies one swept key at a time.

    Every value occurs once, but not every combination of values.
    """
    fixed = []
    swept = []
    for override in overrides:
        text = str(override.input_line)
        if not override.is_sweep_override():
            fixed.append(text)
            continue
        key = text.split("=", 1)[0]
        choices = [f"{key}={value}" for value in values_of(override)]
        if choices:
            swept.append(choices)

    first = [choices[0] for choices in swept]
    yield Variation([*fixed, *first])
    for index, choices in enumerate(swept):
        before, after = first[:index], first[index + 1 :]
        for choice in choices[1:]:
            yield Variation([*fixed, *before, choice, *after], changed=choice)


def values_of(override: Override) -> list[str]:
    """The values that an override sweeps over, or its single value."""
    if override.is_interval_sweep():
        interval = cast(IntervalSweep, override.value())
        return [str(interval.start), str(interval.end)]
    if override.is_discrete_sweep():
        return list(override.sweep_string_iterator())
    return [override.get_value_element_as_str()]
