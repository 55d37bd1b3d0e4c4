"""Bounds relative to the size of what is compared: processors that add in another order differ in the last digits."""

from collections.abc import Mapping

from torch import Tensor


def assert_close(actual: Tensor, expected: Tensor, relative: float = 1e-5) -> None:
    """The largest difference is at most `relative` times the largest expected value."""
    assert_all_close({"": actual}, {"": expected}, relative)


def assert_all_close(
    actual: Mapping[str, Tensor], expected: Mapping[str, Tensor], relative: float = 1e-5
) -> None:
    """The same for tensors by name, against the largest value of any: a gradient that is zero in exact arithmetic is
    only as exact as the others are large."""
    assert actual.keys() == expected.keys()
    largest = max(float(tensor.detach().abs().max()) for tensor in expected.values())
    for name, tensor in expected.items():
        difference = float((actual[name] - tensor).detach().abs().max())
        assert difference <= relative * largest, (
            f"{name}: {difference} against values up to {largest}"
        )
