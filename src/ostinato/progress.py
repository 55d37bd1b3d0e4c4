"""What the terminal shows during a training: log lines and a progress bar."""

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
    """Prints log lines above a live progress bar, without wrapping or colors."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one record."""
        rich.get_console().print(
            self.format(record), markup=False, highlight=False, soft_wrap=True
        )


def progress_bar() -> Progress:
    """A bar with the steps done, the time left and a free `status` column.

    The bar is disabled when stdout is not a terminal.
    """
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
