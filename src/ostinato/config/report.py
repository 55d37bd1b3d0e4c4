"""The command `report`, and what the report at the end of a run shows."""

import dataclasses

from pydantic.dataclasses import dataclass

from ostinato.config.types import MISSING, STRICT


@dataclass(config=STRICT, kw_only=True)
class ReportOptions:
    """What a run's report shows in addition."""

    slices: list[str] = dataclasses.field(default_factory=list)
    """Columns of the data to break the final metrics down by, e.g.
    report.slices=[source].
    """


@dataclass(config=STRICT, kw_only=True)
class ReportConfig:
    """Write the report of an older or unfinished run."""

    run: str = MISSING
    """Run folder."""
    output: str | None = None
    """HTML file to write; null takes report.html in the run folder."""
    slices: list[str] | None = None
    """Columns of the data to break the final metrics down by; null takes the run's
    report.slices.
    """
