"""Formats the numbers of a comparison as text."""

from ostinato.comparison.configurations import Comparison
from ostinato.comparison.statistics import Interval


class NumberFormat:
    """Formats scores with as many decimals as they need.

    Scores below 1 get four decimals, scores below 10 three, and percentages one.
    """

    def __init__(self, comparison: Comparison) -> None:
        largest = 0.0
        for configuration in comparison.configurations:
            for score in configuration.scores().values():
                largest = max(largest, abs(score))
        self._decimals = _decimals(largest)

    def plain(self, value: float | None) -> str:
        """Formats a score."""
        if value is None:
            return "-"
        return f"{value:.{self._decimals}f}"

    def signed(self, value: float) -> str:
        """Formats a difference."""
        return f"{value:+.{self._decimals}f}"

    def interval(self, interval: Interval | None) -> str:
        """Formats an interval."""
        if interval is None:
            return "-"
        low, high = interval
        return f"[{self.plain(low)}, {self.plain(high)}]"


def _decimals(largest: float) -> int:
    if largest >= 10:
        return 1
    if largest >= 1:
        return 3
    return 4


def format_p(value: float | None) -> str:
    """Formats a p-value with two significant digits, e.g. .031."""
    if value is None:
        return "-"
    if value < 0.001:
        return "< .001"
    if value < 0.095:
        return f"{value:.3f}".lstrip("0")
    return f"{value:.2f}".removeprefix("0")
