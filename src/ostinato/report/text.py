"""Formats names, numbers, texts and commands for reports and model cards."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from ostinato.config import DataConfig, Source, Task
from ostinato.errors import ConfigError
from ostinato.redaction import redact
from ostinato.run_dir import RunDir
from ostinato.scoring.bootstrap import Estimate

MISSING = "–"
"""Shown where a value is missing."""

BASELINES = {
    Task.single_label: "majority class",
    Task.multi_label: "most frequent label set",
    Task.regression: "mean of the labels",
}
"""Names of the constant predictions that a model is compared with."""

_MAX_TEXT_LENGTH = 800  # characters

# Characters that HTML cannot hold (control characters, surrogates, noncharacters), and
# marks that change the direction of text.
_UNSHOWABLE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    r"\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)

# Keys that do not change what is trained.
_OBSERVERS = ("tracker", "hydra", "resume", "report", "compare")

_TITLES: Mapping[str, str] = {
    "auroc": "AUROC",
    "ece": "calibration error (ECE)",
    "brier": "Brier score",
    "kl": "KL divergence",
    "mcc": "MCC",
    "map": "mean average precision",
    "mse": "MSE",
    "mae": "MAE",
}


def training_command(run: RunDir) -> str | None:
    """Builds the command that trained a run, without the keys that only observe it.

    Returns:
        The command; None if the run was not started from a command line.
    """
    try:
        recorded = run.hydra_record.overrides()
    except ConfigError:
        return None
    overrides = []
    for override in recorded:
        key = override.lstrip("+~")
        if not key.startswith(_OBSERVERS):
            overrides.append(override)
    return shlex.join(["python", "scripts/train.py", *overrides])


def data_name(cfg: DataConfig) -> str:
    """Name of the data set; for files, the name of the training file."""
    if cfg.source is Source.files:
        return Path(redact(str(cfg.train_path))).name
    name = cfg.name or cfg.source.value
    return f"{name} ({cfg.subset})" if cfg.subset else name


def plain(text: str) -> str:
    """Makes a text safe to show.

    Masks secrets, and replaces characters that HTML cannot hold.
    """
    return _UNSHOWABLE.sub("\ufffd", redact(text))


def shortened(text: str) -> str:
    """Cuts a long text and adds its full length."""
    if len(text) <= _MAX_TEXT_LENGTH:
        return text
    return f"{text[:_MAX_TEXT_LENGTH]}… ({len(text):,} characters)"


def number(value: float | None, decimals: int = 4) -> str:
    """Formats a metric; a value of 100 or more gets one decimal."""
    if value is None:
        return MISSING
    if abs(value) < 100:
        return f"{value:.{decimals}f}"
    return f"{value:,.1f}"


def count(value: int | None) -> str:
    """Formats a number of rows."""
    return MISSING if value is None else f"{value:,}"


def interval(estimate: Estimate | None) -> str:
    """Formats the interval of a metric."""
    if estimate is None:
        return MISSING
    return f"{number(estimate.low)} to {number(estimate.high)}"


def percent(share: float) -> str:
    """Formats a share between 0 and 1."""
    return f"{100 * share:.1f} %"


def title(name: str) -> str:
    """Name of a metric as it is usually written."""
    default = name.replace("_f1", " F1").replace("_", " ")
    return _TITLES.get(name, default)
