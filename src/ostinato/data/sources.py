"""Opens a split of the configured source: files, Hub, asset or generated text."""

from ostinato.config import DataConfig, Source
from ostinato.data.assets import fetch_data
from ostinato.data.columns import Columns
from ostinato.data.delimited import read_tab
from ostinato.data.files import RowSource, open_files
from ostinato.data.generated import generate
from ostinato.data.hub import open_hub
from ostinato.data.labels import LabelFormat

# Columns of the data sets in Orange's `.tab` format.
_ASSET_COLUMNS = Columns(text="Text", pair=None, label="Category")


def open_split(cfg: DataConfig, split: str) -> list[RowSource] | None:
    """Opens a split of the configured source.

    Args:
        cfg: the source.
        split: train, val or test.

    Returns:
        The sources of the rows; None if the source has no such split.

    Raises:
        DataError: a file or data set that cannot be read.
        AssetError: an asset that cannot be fetched.
    """
    columns = columns_of(cfg, split)
    if cfg.source is Source.generated:
        return [generate(split, cfg.task, has_pair(cfg))]
    if cfg.source is Source.files:
        path = getattr(cfg, f"{split}_path")
        if not path:
            return None
        return open_files(path, columns, f"data.{split}_path")
    if cfg.source is Source.hub:
        hub_split = getattr(cfg, f"{split}_split")
        if not hub_split:
            return None
        return [open_hub(cfg, hub_split, columns)]
    files = fetch_data(str(cfg.name))
    file = files.get(split)
    if file is None:
        return None
    name = f"{cfg.name}[{split}]"
    rows = read_tab(file, _ASSET_COLUMNS)
    return [RowSource(name, rows)]


def columns_of(cfg: DataConfig, split: str | None = None) -> Columns:
    """The columns to read; only those of the split `train` have a weight."""
    distribution = cfg.label_distribution
    columns = distribution if isinstance(distribution, dict) else {}
    return Columns(
        text=cfg.text_column,
        pair=cfg.text_pair_column,
        label=None if columns else cfg.label_column,
        weight=cfg.weight_column if split == "train" else None,
        distribution=columns,
    )


def label_format_of(cfg: DataConfig) -> LabelFormat:
    """How the labels are written."""
    labels = tuple(cfg.label_distribution or ())
    return LabelFormat(cfg.task, cfg.label_separator, labels)


def has_pair(cfg: DataConfig) -> bool:
    """Whether rows have a second text."""
    return cfg.text_pair_column is not None
