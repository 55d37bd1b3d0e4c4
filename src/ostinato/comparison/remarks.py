"""The lines of text below the tables of a comparison.

They state the limits of the verdicts, the uncertainty from the rows, the chosen
configuration, and the runs that are missing.
"""

from ostinato.comparison.configurations import Chosen, Comparison
from ostinato.comparison.number_format import NumberFormat, format_p
from ostinato.comparison.row_sampling import RowSampling


def remarks(comparison: Comparison, numbers: NumberFormat) -> list[str]:
    """Returns the lines below the tables."""
    lines = _verdicts(comparison)
    lines += _streams(comparison, numbers)
    if comparison.chosen is not None:
        lines += _choice(comparison, comparison.chosen, numbers)
    lines += _missing(comparison)
    lines += _collapsed(comparison, numbers)
    lines += comparison.notes
    return lines


def _verdicts(comparison: Comparison) -> list[str]:
    lines = []
    smallest_p = {}
    for pair in comparison.against_baseline:
        if pair.remark and pair.verdict:
            lines.append(f"{pair.first}: {pair.verdict.value}: {pair.remark}")
        if pair.difference:
            smallest_p[pair.difference.n] = pair.difference.smallest_p
    for n, p in smallest_p.items():
        seeds = f"{n} seeds" if n > 1 else "1 seed"
        limit = format_p(p)
        lines.append(
            f"p is from a sign-flip test: with {seeds}, the smallest possible p "
            f"is {limit}"
        )
    for pair in comparison.against_baseline:
        if pair.rows:
            names = f"{pair.first} - {pair.second}"
            text = _accuracy_difference(pair.rows)
            lines.append(f"{names}: {text}")
    return lines


def _streams(comparison: Comparison, numbers: NumberFormat) -> list[str]:
    lines = []
    for configuration in comparison.configurations:
        for stream in configuration.streams:
            sd = numbers.plain(stream.sd)
            lines.append(
                f"{configuration.name}: sd {sd} if only the {stream.stream} seed "
                f"changes ({stream.runs} runs in {stream.sets} sets)"
            )
    return lines


def _choice(
    comparison: Comparison,
    chosen: Chosen,
    numbers: NumberFormat,
) -> list[str]:
    lines = [f"chosen by mean {comparison.metric}: {chosen.name}"]
    if chosen.test is not None:
        mean = numbers.plain(chosen.test.mean)
        interval = numbers.interval(chosen.test.interval)
        n = chosen.test.n
        lines.append(f"  its {chosen.metric}: {mean} {interval} over {n} runs")
    if chosen.rows is not None:
        text = _accuracy(chosen.rows)
        lines.append(f"  {text}")
    if chosen.difference is not None:
        mean = numbers.signed(chosen.difference.mean)
        interval = numbers.interval(chosen.difference.interval)
        p = format_p(chosen.difference.p)
        n = chosen.difference.n
        lines.append(
            f"  test difference to {comparison.baseline}: {mean} {interval}, "
            f"p = {p}, {n} pairs"
        )
    if chosen.difference_rows is not None:
        text = _accuracy_difference(chosen.difference_rows)
        lines.append(f"  {text}")
    return lines


def _missing(comparison: Comparison) -> list[str]:
    lines = []
    for configuration in comparison.configurations:
        for point in configuration.points:
            if point.score is not None:
                continue
            where = f"{configuration.name}, seed {point.sample}"
            lines.append(f"{point.status}: {point.run} ({where}): {point.reason}")
    return lines


def _collapsed(comparison: Comparison, numbers: NumberFormat) -> list[str]:
    lines = []
    for configuration in comparison.configurations:
        for point in configuration.points:
            if point.collapsed:
                score = numbers.plain(point.score)
                lines.append(f"collapsed: {point.run} ({configuration.name}): {score}")
    return lines


def _accuracy(rows: RowSampling) -> str:
    return _row_sampling(rows, f"accuracy {rows.mean:.4f}")


def _accuracy_difference(rows: RowSampling) -> str:
    return _row_sampling(rows, f"accuracy difference {rows.mean:+.4f}")


def _row_sampling(rows: RowSampling, value: str) -> str:
    low, high = rows.interval
    text = (
        f"uncertainty from the rows alone: {value} [{low:.4f}, {high:.4f}] over "
        f"resampled rows ({rows.num_rows:,} {rows.split} rows)"
    )
    if rows.mcnemar_p is not None:
        text += f", McNemar p = {format_p(rows.mcnemar_p)}"
    return text
