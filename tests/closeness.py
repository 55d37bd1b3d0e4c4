"""Comparisons with a bound relative to the size of the compared tensors.

Processors that add numbers in another order differ in the last digits.
"""

from collections.abc import Mapping

from torch import Tensor


def assert_close(actual: Tensor, expected: Tensor, relative: float = 1e-5) -> None:
    """Requires a difference of at most `relative` times the largest expected value."""
    assert_all_close({"": actual}, {"": expected}, relative)


def assert_all_close(
    actual: Mapping[str, Tensor], expected: Mapping[str, Tensor], relative: float = 1e-5
) -> None:
    """Compares tensors by name, relative to the largest value of all of them.

    A gradient that is zero in exact arithmetic is only as exact as the largest one.
    """
    assert actual.keys() == expected.keys()
    largest = max(float(tensor.detach().abs().max()) for tensor in expected.values())
    for name, tensor in expected.items():
        difference = float((actual[name] - tensor).detach().abs().max())
        assert difference <= relative * largest, (
            f"{name}: differs by {difference}, with values up to {largest}"
        )
