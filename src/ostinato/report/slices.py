"""Reads the values of further columns (a source, a language) for the scored rows.

Rows are matched by their texts, in order. A text can occur several times in the data
with different values. Then the scored row is unknown, and its value is too.
"""

from collections import defaultdict
from collections.abc import Iterator

from ostinato.config import DataConfig, Source
from ostinato.data.columns import Columns, Row
from ostinato.data.files import RowSource, open_files
from ostinato.data.hub import open_hub
from ostinato.data.splits import Split
from ostinato.errors import DataError
from ostinato.report.row_texts import row_texts


def slice_values(
    cfg: DataConfig,
    split: Split,
    column: str,
) -> list[str | None]:
    """Reads the value of a column for each row of a split.

    Args:
        cfg: the data.
        split: the rows.
        column: name of the column.

    Returns:
        One value per row, in order; None where it is unknown.

    Raises:
        DataError: no such column, or a source without further columns.
    """
    values_of: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for texts, value in _read_column(cfg, split.name, column):
        values_of[texts].add(value)
    found: list[str | None] = []
    for texts in row_texts(split):
        candidates = values_of.get(texts, set())
        is_known = len(candidates) == 1
        found.append(next(iter(candidates)) if is_known else None)
    return found


def check_slices(cfg: DataConfig, columns: list[str]) -> None:
    """Checks that the columns exist, before training.

    Raises:
        DataError: no such column, or a source without further columns.
    """
    for column in columns:
        next(_read_column(cfg, "test", column), None)


def _read_column(
    cfg: DataConfig,
    split: str,
    column: str,
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yields the texts of each row and its value of the column."""
    columns = Columns(cfg.text_column, cfg.text_pair_column, column)
    has_pairs = cfg.text_pair_column is not None
    try:
        for source in _open_sources(cfg, split, columns):
            for row in source.rows:
                yield _texts(row, has_pairs), str(row.label)
    except DataError as error:
        message = str(error).replace("data.label_column", "report.slices")
        raise DataError(message) from None


def _texts(row: Row, has_pairs: bool) -> tuple[str, ...]:
    if has_pairs:
        return _text(row.text), _text(row.pair)
    return (_text(row.text),)


def _text(value: object) -> str:
    """A text as a split holds it; missing texts (None and NaN) are empty."""
    is_nan = value != value
    return "" if value is None or is_nan else str(value)


def _open_sources(
    cfg: DataConfig,
    split: str,
    columns: Columns,
) -> list[RowSource]:
    """Opens the files or the hub data set that a split comes from.

    A split without a source of its own is cut from the training data.
    """
    if cfg.source is Source.files:
        path = getattr(cfg, f"{split}_path") or cfg.train_path
        return open_files(str(path), columns, f"data.{split}_path")
    if cfg.source is Source.hub:
        hub_split = getattr(cfg, f"{split}_split") or cfg.train_split
        return [open_hub(cfg, hub_split, columns)]
    raise DataError(
        f"report.slices=[{columns.label}]: data.source={cfg.source.value} has no "
        "further columns"
    )
