"""Shows a comparison: tables on the console, and json, md and html files."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rich
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ostinato.comparison import plots
from ostinato.comparison.configurations import Comparison
from ostinato.comparison.view import CONFIGURATION_COLUMNS, PAIR_COLUMNS, Row, View
from ostinato.errors import ConfigError
from ostinato.redaction import shown
from ostinato.storage.atomic import write_json, write_text
from ostinato.storage.outputs import check_output, holds
from ostinato.storage.paths import possible_path
from ostinato.templates import environment

_WIDTH = 140  # of a table that is written to a file or a pipe


def show(comparison: Comparison) -> None:
    """Prints the tables, and the lines below them."""
    console = rich.get_console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    view = View(comparison)
    rows = view.configurations()
    _print_table(
        console,
        comparison.metric,
        CONFIGURATION_COLUMNS,
        rows,
    )
    if comparison.against_baseline:
        title = f"compared with {comparison.baseline}, same seeds"
        _print_table(console, title, PAIR_COLUMNS, view.pairs())
    for line in view.lines():
        console.print(
            shown(line),
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _print_table(
    console: Console,
    title: str,
    columns: Row,
    rows: Sequence[Row],
) -> None:
    table = Table(
        title=Text(shown(title)),
        title_justify="left",
        title_style="bold",
    )
    for number, column in enumerate(columns):
        is_text = number == 0 or column == "verdict"
        table.add_column(
            column,
            justify="left" if is_text else "right",
            no_wrap=number > 0,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*map(shown, row))
    console.print(table, markup=False, highlight=False)


def write(
    comparison: Comparison,
    folder: Path,
    stem: str,
) -> None:
    """Writes STEM.json, STEM.md and STEM.html into a folder.

    The folder is created if needed.

    Raises:
        ConfigError: if the files cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / f"{stem}.json", dataclasses.asdict(comparison))
        for kind in ("md", "html"):
            text = _render(comparison, f"comparison.{kind}")
            write_text(folder / f"{stem}.{kind}", text)
    except OSError as error:
        raise ConfigError([f"{folder}: cannot be written ({error.strerror})"]) from None


def _render(comparison: Comparison, template: str) -> str:
    templates = environment(finalize=_shown_text)
    return templates.get_template(template).render(
        comparison=comparison,
        view=View(comparison),
        configuration_columns=CONFIGURATION_COLUMNS,
        pair_columns=PAIR_COLUMNS,
        plots=plots,
    )


def _shown_text(value: Any) -> Any:
    """Removes secrets and control characters from text.

    Markup, a subclass of str, stays as it is, because it is already escaped.
    """
    if type(value) is str:
        return shown(value)
    return value


def check_folder(folder: Path) -> None:
    """Checks that compare.json, compare.md and compare.html can be written to a folder.

    Only the files of an earlier comparison are replaced.

    Raises:
        ConfigError: if files of these names are not of a comparison, or the path is not
            a folder.
    """
    possible_path("output", folder)
    if folder.exists() and not folder.is_dir():
        raise ConfigError([f"output={folder}: is not a folder; give another one"])
    record = folder / "compare.json"
    check_output(record, ".json", holds("configurations", "against_baseline"))
    if record.exists():
        return
    for path in (folder / "compare.md", folder / "compare.html"):
        if path.exists():
            raise ConfigError(
                [
                    f"output={folder}: contains a {path.name} that is not from a "
                    "comparison; give another folder"
                ]
            )
