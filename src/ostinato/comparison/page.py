"""Shows a comparison: tables on the console, and json, md and self-contained html files."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rich
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ostinato.comparison import plots
from ostinato.comparison.configurations import Comparison, Configuration, Pair
from ostinato.comparison.row_sampling import RowSampling
from ostinato.comparison.statistics import Interval, Summary
from ostinato.errors import ConfigError
from ostinato.redaction import shown
from ostinato.storage.atomic import write_json, write_text
from ostinato.storage.outputs import check_output, holds
from ostinato.templates import environment

Row = Sequence[str]

_WIDTH = 140  # of a table that goes to a file or a pipe

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


class Numbers:
    """Writes numbers with as many digits as the scores deserve: shares with four decimals, percents with one."""

    def __init__(self, comparison: Comparison) -> None:
        scores = [
            abs(score)
            for c in comparison.configurations
            for score in c.scores().values()
        ]
        self._decimals = (
            max(0, 3 - math.floor(math.log10(max([*scores, 1e-9])))) if scores else 4
        )
        self._decimals = min(4, self._decimals) if max([*scores, 0]) < 10 else 1

    def plain(self, value: float | None) -> str:
        """A score."""
        return "-" if value is None else f"{value:.{self._decimals}f}"

    def signed(self, value: float) -> str:
        """A difference."""
        return f"{value:+.{self._decimals}f}"

    def interval(self, interval: Interval | None) -> str:
        """An interval."""
        return (
            "-"
            if interval is None
            else f"[{self.plain(interval[0])}, {self.plain(interval[1])}]"
        )

    @staticmethod
    def p(value: float | None) -> str:
        """A p-value, with two digits that count."""
        if value is None:
            return "-"
        if value < 0.001:
            return "< .001"
        return (
            f"{value:.3f}".lstrip("0")
            if value < 0.095
            else f"{value:.2f}".removeprefix("0")
        )


def show(comparison: Comparison) -> None:
    """Prints the tables and what must be said with them."""
    shared = rich.get_console()
    console = shared if shared.is_terminal else Console(width=_WIDTH)
    view = View(comparison)
    _print(console, comparison.metric, CONFIGURATION_COLUMNS, view.configurations())
    if comparison.against_baseline:
        _print(
            console,
            f"against {comparison.baseline}, same seeds",
            PAIR_COLUMNS,
            view.pairs(),
        )
    for line in view.lines():
        console.print(shown(line), markup=False, highlight=False, soft_wrap=True)


def write(comparison: Comparison, folder: Path, stem: str) -> None:
    """Writes STEM.json, STEM.md and STEM.html into a folder, making it if need be.

    Raises:
        ConfigError: they cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(comparison, folder, stem)
    except OSError as error:
        raise ConfigError([f"{folder}: cannot be written ({error.strerror})"]) from None


def check_folder(folder: Path) -> None:
    """Refuses a folder for compare.json, compare.md and compare.html where files of these names are something else.

    Raises:
        ConfigError: they are, or it is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError([f"output={folder}: is not a folder; give another one"])
    record = folder / "compare.json"
    check_output(record, ".json", holds("configurations", "against_baseline"))
    for path in (folder / "compare.md", folder / "compare.html"):
        if path.exists() and not record.exists():
            raise ConfigError(
                [
                    f"output={folder}: holds a {path.name} of something else; give another folder"
                ]
            )


def _write(comparison: Comparison, folder: Path, stem: str) -> None:
    write_json(folder / f"{stem}.json", dataclasses.asdict(comparison))
    templates = environment(finalize=_displayed)
    for kind in ("md", "html"):
        text = templates.get_template(f"comparison.{kind}").render(
            comparison=comparison,
            view=View(comparison),
            configuration_columns=CONFIGURATION_COLUMNS,
            pair_columns=PAIR_COLUMNS,
            plots=plots,
        )
        write_text(folder / f"{stem}.{kind}", text)


def _displayed(value: Any) -> Any:
    """A text without secrets and control characters; other values stay.

    The exact type matters, because `Markup` is a subclass of str and already escaped.
    """
    return shown(value) if type(value) is str else value


def _print(console: Console, title: str, columns: Row, rows: Sequence[Row]) -> None:
    table = Table(title=Text(shown(title)), title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        words = number == 0 or column == "verdict"
        table.add_column(
            column,
            justify="left" if words else "right",
            no_wrap=number > 0,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*map(shown, row))
    console.print(table, markup=False, highlight=False)


class View:
    """A comparison as rows and lines of text, the same for console, md and html."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self.numbers = Numbers(comparison)

    def configurations(self) -> list[Row]:
        """A row for each configuration, and one without its collapsed runs where there are some."""
        rows = []
        for configuration in self._comparison.configurations:
            counts = (str(configuration.failed), str(configuration.collapsed))
            rows.append(
                self._metrics(configuration.name, configuration.summary, counts)
            )
            if configuration.collapsed:
                rows.append(
                    self._metrics(
                        "  without the collapsed",
                        configuration.without_collapsed,
                        ("", ""),
                    )
                )
        return rows

    def _metrics(self, name: str, summary: Summary | None, counts: Row) -> Row:
        if summary is None:
            return (name, "0", *["-"] * 4, *counts)
        n = self.numbers
        spread = " / ".join(
            n.plain(value)
            for value in (summary.minimum, summary.median, summary.maximum)
        )
        return (
            name,
            str(summary.n),
            n.plain(summary.mean),
            n.plain(summary.sd),
            n.interval(summary.interval),
            spread,
            *counts,
        )

    def pairs(self) -> list[Row]:
        """A row for each comparison with the baseline."""
        rows = []
        for pair in self._comparison.against_baseline:
            rows.append(
                self._difference(
                    pair.first, pair, str(pair.verdict.value if pair.verdict else "")
                )
            )
            if pair.without_collapsed is not None:
                sound = dataclasses.replace(
                    pair,
                    difference=pair.without_collapsed,
                    p_holm=None,
                    superiority=None,
                )
                rows.append(self._difference("  without the collapsed", sound, ""))
        return rows

    def other_pairs(self) -> list[Row]:
        """A row for each other pair, without a verdict."""
        return [
            self._difference(f"{pair.first} - {pair.second}", pair, "")
            for pair in self._comparison.other_pairs
        ]

    def _difference(self, name: str, pair: Pair, verdict: str) -> Row:
        difference, n = pair.difference, self.numbers
        if difference is None:
            return (name, *["-"] * 6, verdict)
        return (
            name,
            n.signed(difference.mean),
            n.interval(difference.interval),
            n.p(difference.p),
            n.p(pair.p_holm),
            "-" if pair.superiority is None else f"{pair.superiority:.2f}",
            f"{difference.wins} of {difference.n}"
            + (f", {difference.ties} tied" if difference.ties else ""),
            verdict,
        )

    def points(self, configuration: Configuration) -> str:
        """Every run of a configuration in one line."""
        return ", ".join(
            f"{p.sample}: {self.numbers.plain(p.score) if p.score is not None else p.status}"
            + (" (collapsed)" if p.collapsed else "")
            for p in configuration.points
        )

    def lines(self) -> list[str]:
        """What must be said with the tables: limits of verdicts, chance by rows, the choice, runs that are missing."""
        return [
            *self._remarks(),
            *self._streams(),
            *self._choice(),
            *self._missing(),
            *self._comparison.notes,
        ]

    def _remarks(self) -> list[str]:
        lines = [
            f"{p.first}: {p.verdict.value}: {p.remark}"
            for p in self._comparison.against_baseline
            if p.remark and p.verdict
        ]
        sizes = {
            p.difference.n: p.difference.smallest_p
            for p in self._comparison.against_baseline
            if p.difference
        }
        lines += [
            f"p flips signs: {n} seeds reach p = {self.numbers.p(p)} at best"
            for n, p in sizes.items()
        ]
        for pair in self._comparison.against_baseline:
            if pair.rows:
                lines.append(
                    f"{pair.first} - {pair.second}: {_rows(pair.rows, 'accuracy difference')}"
                )
        return lines

    def _streams(self) -> list[str]:
        return [
            f"{c.name}: sd {self.numbers.plain(s.sd)} when the {s.stream} seed alone changes"
            f" ({s.runs} runs in {s.sets} sets)"
            for c in self._comparison.configurations
            for s in c.streams
        ]

    def _choice(self) -> list[str]:
        chosen, n = self._comparison.chosen, self.numbers
        if chosen is None:
            return []
        lines = [f"chosen by mean {self._comparison.metric}: {chosen.name}"]
        if chosen.test is not None:
            mean, interval = n.plain(chosen.test.mean), n.interval(chosen.test.interval)
            lines.append(
                f"  its {chosen.metric}: {mean} {interval} over {chosen.test.n} runs"
            )
        if chosen.rows:
            lines.append(f"  {_rows(chosen.rows)}")
        if chosen.difference:
            d = chosen.difference
            metrics = f"{n.signed(d.mean)} {n.interval(d.interval)}, p = {n.p(d.p)}, {d.n} pairs"
            lines.append(f"  on test, to {self._comparison.baseline}: {metrics}")
        if chosen.difference_rows:
            lines.append(f"  {_rows(chosen.difference_rows, 'accuracy difference')}")
        return lines

    def _missing(self) -> list[str]:
        points = [
            (c.name, p) for c in self._comparison.configurations for p in c.points
        ]
        lines = [
            f"{p.status}: {p.run} ({name}, seed {p.sample}): {p.reason}"
            for name, p in points
            if p.score is None
        ]
        return lines + [
            f"collapsed: {p.run} ({name}): {self.numbers.plain(p.score)}"
            for name, p in points
            if p.collapsed
        ]


def _rows(rows: RowSampling, of: str = "accuracy") -> str:
    low, high = rows.interval
    test = (
        "" if rows.mcnemar_p is None else f", McNemar p = {Numbers.p(rows.mcnemar_p)}"
    )
    sign = "+" if of != "accuracy" else ""
    metrics = f"{rows.mean:{sign}.4f} [{low:.4f}, {high:.4f}]"
    return f"chance by rows alone: {of} {metrics} with the {rows.num_rows:,} {rows.split} rows drawn anew{test}"
