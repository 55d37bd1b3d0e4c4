"""The first difference between two fingerprints, with no tolerance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ostinato.record.schema import Fingerprint

_SHOWN_LENGTH = 12


@dataclass(frozen=True)
class Difference:
    """The first value that differs between two fingerprints.

    Attributes:
        stream: what differs, e.g. loss.
        step: the optimizer step, or None.
        first: the first run's value.
        second: the second run's value.
    """

    stream: str
    step: int | None
    first: Any
    second: Any

    def __str__(self) -> str:
        where = "" if self.step is None else f" at step {self.step}"
        values = f"{_shorten(self.first)} and {_shorten(self.second)}"
        return f"first difference in {self.stream}{where}: {values}"


def first_difference(
    first: Fingerprint,
    second: Fingerprint,
    until_step: int | None = None,
) -> Difference | None:
    """Compares two fingerprints with no tolerance.

    Args:
        first: content of a `fingerprint.json`.
        second: content of another one.
        until_step: compare only data, and steps up to this one.

    Returns:
        The first stream that differs: data, tokens, token_ids, initial_weights,
        order, loss, grad_norm, number of steps, evaluation, weights, best weights or
        predictions. None if the fingerprints are identical.
    """
    difference = _difference_at_start(first, second)
    if difference is None:
        difference = _difference_in_steps(first, second, until_step)
    if difference is None and until_step is None:
        difference = _difference_in_evaluations(first, second)
        if difference is None:
            difference = _difference_at_end(first, second)
    return difference


def _difference_at_start(
    first: Mapping[str, Any],
    second: Mapping[str, Any],
) -> Difference | None:
    # Runs of earlier versions recorded `tokens` instead of `token_ids`, so that a
    # stream can be missing from one of them.
    for stream in ("data", "tokens", "token_ids", "initial_weights"):
        if stream not in first or stream not in second:
            continue
        ours = first[stream]
        theirs = second[stream]
        if ours != theirs:
            return Difference(stream, None, ours, theirs)
    return None


def _difference_in_steps(
    first: Fingerprint,
    second: Fingerprint,
    until_step: int | None,
) -> Difference | None:
    first_steps = _steps_until(first["steps"], until_step)
    second_steps = _steps_until(second["steps"], until_step)
    for first_step, second_step in zip(first_steps, second_steps, strict=False):
        for stream in ("order", "loss", "grad_norm"):
            ours = first_step[stream]
            theirs = second_step[stream]
            # As text, numbers compare to the last bit, and None equals None.
            if repr(ours) != repr(theirs):
                return Difference(stream, first_step["step"], ours, theirs)
    ours = len(first_steps)
    theirs = len(second_steps)
    if ours != theirs:
        return Difference("number of steps", None, ours, theirs)
    return None


def _difference_in_evaluations(
    first: Fingerprint,
    second: Fingerprint,
) -> Difference | None:
    first_evaluations = first["evaluations"]
    second_evaluations = second["evaluations"]
    common = set(first_evaluations) & set(second_evaluations)
    for step in sorted(common, key=int):
        ours = first_evaluations[step]
        theirs = second_evaluations[step]
        if ours != theirs:
            return Difference("evaluation", int(step), ours, theirs)
    return None


def _difference_at_end(
    first: Mapping[str, Any],
    second: Mapping[str, Any],
) -> Difference | None:
    for stream in ("weights", "best_weights", "predictions"):
        ours = first[stream]
        theirs = second[stream]
        if ours != theirs:
            name = stream.replace("_", " ")
            return Difference(name, None, ours, theirs)
    return None


def _steps_until(
    steps: Sequence[Mapping[str, Any]],
    last: int | None,
) -> list[Mapping[str, Any]]:
    if last is None:
        return list(steps)
    return [step for step in steps if step["step"] <= last]


def _shorten(value: Any) -> str:
    """A value as text; a digest is cut to its first characters."""
    if isinstance(value, dict):
        parts = [f"{key} {_shorten(item)}" for key, item in value.items()]
        return ", ".join(parts)
    if isinstance(value, str):
        return value[:_SHOWN_LENGTH]
    return repr(value)
