"""What the terminal shows: log lines beside a progress bar. Quiet where there is no terminal."""

import logging

import rich
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)


class ConsoleHandler(logging.Handler):
    """Writes log lines above a live progress bar, unwrapped and unstyled."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one record."""
        rich.get_console().print(
            self.format(record), markup=False, highlight=False, soft_wrap=True
        )


def progress_bar() -> Progress:
    """A bar with steps done, time left and a free `status` column; shows nothing when stdout is no terminal."""
    console = rich.get_console()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
        console=console,
        disable=not console.is_terminal,
    )
