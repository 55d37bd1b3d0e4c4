"""A comparison as table rows and lines of text, for the console, md and html."""

import dataclasses

from ostinato.comparison.configurations import Comparison, Configuration, Pair
from ostinato.comparison.number_format import NumberFormat, format_p
from ostinato.comparison.remarks import remarks
from ostinato.comparison.statistics import Summary

Row = tuple[str, ...]

CONFIGURATION_COLUMNS = (
    "configuration",
    "n",
    "mean",
    "sd",
    "95 % interval",
    "min / median / max",
    "failed",
    "collapsed",
)
PAIR_COLUMNS = (
    "configuration",
    "difference",
    "95 % interval",
    "p",
    "p (Holm)",
    "P(A>B)",
    "wins",
    "verdict",
)

_WITHOUT_COLLAPSED = "  without collapsed runs"


class View:
    """The tables and lines of a comparison."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._numbers = NumberFormat(comparison)

    def configurations(self) -> list[Row]:
        """Returns one row for each configuration.

        If runs of it collapsed, a second row follows, without them.
        """
        rows = []
        for configuration in self._comparison.configurations:
            num_failed = str(configuration.failed)
            num_collapsed = str(configuration.collapsed)
            cells = self._summary(configuration.summary)
            rows.append((configuration.name, *cells, num_failed, num_collapsed))
            if configuration.collapsed:
                cells = self._summary(configuration.without_collapsed)
                rows.append((_WITHOUT_COLLAPSED, *cells, "", ""))
        return rows

    def _summary(self, summary: Summary | None) -> Row:
        if summary is None:
            return ("0", "-", "-", "-", "-")
        minimum = self._numbers.plain(summary.minimum)
        median = self._numbers.plain(summary.median)
        maximum = self._numbers.plain(summary.maximum)
        return (
            str(summary.n),
            self._numbers.plain(summary.mean),
            self._numbers.plain(summary.sd),
            self._numbers.interval(summary.interval),
            f"{minimum} / {median} / {maximum}",
        )

    def pairs(self) -> list[Row]:
        """Returns one row for each comparison with the baseline.

        If runs collapsed, a second row follows, without them.
        """
        rows = []
        for pair in self._comparison.against_baseline:
            cells = self._difference(pair)
            verdict = pair.verdict.value if pair.verdict else ""
            rows.append((pair.first, *cells, verdict))
            if pair.without_collapsed is not None:
                sound = dataclasses.replace(
                    pair,
                    difference=pair.without_collapsed,
                    p_holm=None,
                    superiority=None,
                )
                cells = self._difference(sound)
                rows.append((_WITHOUT_COLLAPSED, *cells, ""))
        return rows

    def other_pairs(self) -> list[Row]:
        """Returns one row for each other pair, without a verdict."""
        rows = []
        for pair in self._comparison.other_pairs:
            name = f"{pair.first} - {pair.second}"
            cells = self._difference(pair)
            rows.append((name, *cells, ""))
        return rows

    def _difference(self, pair: Pair) -> Row:
        difference = pair.difference
        if difference is None:
            return ("-", "-", "-", "-", "-", "-")
        superiority = "-"
        if pair.superiority is not None:
            superiority = f"{pair.superiority:.2f}"
        wins = f"{difference.wins} of {difference.n}"
        if difference.ties:
            wins += f", {difference.ties} tied"
        return (
            self._numbers.signed(difference.mean),
            self._numbers.interval(difference.interval),
            format_p(difference.p),
            format_p(pair.p_holm),
            superiority,
            wins,
        )

    def points(self, configuration: Configuration) -> str:
        """Returns all runs of a configuration as one line."""
        parts = []
        for point in configuration.points:
            result = point.status
            if point.score is not None:
                result = self._numbers.plain(point.score)
            if point.collapsed:
                result += " (collapsed)"
            parts.append(f"{point.sample}: {result}")
        return ", ".join(parts)

    def lines(self) -> list[str]:
        """Returns the lines below the tables."""
        return remarks(self._comparison, self._numbers)
