"""Values of further columns of the data (a source, a language) for the rows that a run scored.

Rows are matched by their texts, in order. Of a text that stands in the data several times with different values, no one
can say which row was kept: those rows are left out.
"""

from collections import defaultdict
from collections.abc import Iterator

from ostinato.config import DataConfig, Source
from ostinato.data.columns import Columns
from ostinato.data.files import RowSource, open_files
from ostinato.data.hub import open_hub
from ostinato.data.splits import Split
from ostinato.errors import DataError


def slice_values(cfg: DataConfig, split: Split, column: str) -> list[str | None]:
    """The column's value for each row of a split, in order; None where it cannot be told.

    Raises:
        DataError: no such column, or a source that has none.
    """
    values: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for texts, value in _read(cfg, split.name, column):
        values[texts].add(value)
    names = [name for name in ("text", "text_pair") if name in split.rows.column_names]
    rows = zip(*(split.rows[name] for name in names), strict=True)
    found = (values.get(row, set()) for row in rows)
    return [
        next(iter(candidates)) if len(candidates) == 1 else None for candidates in found
    ]


def check_slices(cfg: DataConfig, columns: list[str]) -> None:
    """Looks for the columns before anything is trained.

    Raises:
        DataError: no such column, or a source that has none.
    """
    for column in columns:
        next(_read(cfg, "test", column), None)


def _read(
    cfg: DataConfig, split: str, column: str
) -> Iterator[tuple[tuple[str, ...], str]]:
    columns = Columns(cfg.text_column, cfg.text_pair_column, column)
    try:
        for source in _sources(cfg, split, columns):
            for row in source.rows:
                texts = (
                    (row.text,)
                    if cfg.text_pair_column is None
                    else (row.text, row.pair)
                )
                yield (
                    tuple(
                        "" if text is None or text != text else str(text)
                        for text in texts
                    ),
                    str(row.label),
                )
    except DataError as error:
        raise DataError(
            str(error).replace("data.label_column", "report.slices")
        ) from None


def _sources(cfg: DataConfig, split: str, columns: Columns) -> list[RowSource]:
    """Where a split's rows come from; a validation split that was cut, and a missing one, come from train."""
    if cfg.source is Source.files:
        path = getattr(cfg, f"{split}_path") or cfg.train_path
        return open_files(str(path), columns, f"data.{split}_path")
    if cfg.source is Source.hub:
        return [
            open_hub(cfg, getattr(cfg, f"{split}_split") or cfg.train_split, columns)
        ]
    raise DataError(
        f"report.slices=[{columns.label}]: data.source={cfg.source.value} has no further columns"
    )
