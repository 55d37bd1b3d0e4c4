"""How a report and a model card write names, numbers, texts and the command that trains a run again."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from ostinato.config import DataConfig, Source
from ostinato.errors import ConfigError
from ostinato.redaction import redact
from ostinato.run_dir import RunDir
from ostinato.scoring.bootstrap import Estimate

_LONGEST_TEXT = 800  # characters of a text that are shown
# Control characters, surrogates and noncharacters, which HTML cannot hold, and marks that change the direction.
_UNSHOWABLE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    r"\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)

_TITLES: Mapping[str, str] = {
    "auroc": "AUROC",
    "ece": "calibration error (ECE)",
    "brier": "Brier score",
    "mcc": "MCC",
    "map": "mean average precision",
    "mse": "MSE",
    "mae": "MAE",
}


def training_command(run: RunDir) -> str | None:
    """The command line that trained a run, but for what only observes; None when it was not started from one."""
    try:
        recorded = run.hydra_record.overrides()
    except ConfigError:
        return None
    observers = ("tracker", "hydra", "resume", "report", "compare")
    own = [
        override
        for override in recorded
        if not override.lstrip("+~").startswith(observers)
    ]
    return shlex.join(["python", "scripts/train.py", *own])


def data_name(cfg: DataConfig) -> str:
    """What the data are called; of files the name of the first, without its folder."""
    if cfg.source is Source.files:
        return Path(redact(str(cfg.train_path))).name
    return f"{cfg.name or cfg.source.value}{f' ({cfg.subset})' if cfg.subset else ''}"


def plain(text: str) -> str:
    """A text to be shown: what HTML cannot hold becomes a replacement character, secrets are masked."""
    return _UNSHOWABLE.sub("\ufffd", redact(text))


def shortened(text: str) -> str:
    """A text cut to a length that can be read."""
    return (
        text
        if len(text) <= _LONGEST_TEXT
        else f"{text[:_LONGEST_TEXT]}… ({len(text):,} characters)"
    )


def number(value: float | None, decimals: int = 4) -> str:
    """A metric; great ones with fewer decimals."""
    if value is None:
        return "–"
    return f"{value:.{decimals}f}" if abs(value) < 100 else f"{value:,.1f}"


def interval(found: Estimate | None) -> str:
    """The interval of a metric."""
    return "–" if found is None else f"{number(found.low)} to {number(found.high)}"


def percent(share: float) -> str:
    """A share."""
    return f"{100 * share:.1f} %"


def title(name: str) -> str:
    """A metric's name as people write it."""
    return _TITLES.get(name, name.replace("_f1", " F1").replace("_", " "))
