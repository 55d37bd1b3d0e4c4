"""Examples for the recipes of CONTRIBUTING.md: a tracker, a metric and a command."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Example:
    """What a contributor writes to follow a recipe.

    Attributes:
        section: heading of the recipe in CONTRIBUTING.md.
        names: what its placeholders mean, e.g. {"<name>": "table"}.
        new: content of each new file, by path.
        edits: pairs of an anchor and the text to insert before it. The file is the one
            that the recipe names and that holds the anchor.
        documents_keys: whether `make docs` changes the README.
    """

    section: str
    names: dict[str, str]
    new: dict[str, str]
    edits: list[tuple[str, str]]
    documents_keys: bool = field(default=False)


TRACKER = '''"""Every logged value as a row of `metrics.csv`."""

from pathlib import Path

from ostinato.config import TableConfig
from ostinato.run_dir import RunDir


class TableTracker:
    """Appends a row for each value."""

    def __init__(self, cfg: TableConfig, run: RunDir, step: int) -> None:
        self._separator = cfg.separator
        self._file: Path = run.table
        self._step = step

    def start(self, config, provenance) -> None:
        """Drops the rows after the step from which the run is resumed."""
        if not self._file.exists():
            return
        kept = []
        for line in self._file.read_text().splitlines(keepends=True):
            if int(line.split(self._separator)[0]) <= self._step:
                kept.append(line)
        self._file.write_text("".join(kept))

    def log(self, step, values) -> None:
        """Writes a row for each value."""
        with self._file.open("a") as file:
            for name, value in values.items():
                file.write(self._separator.join([str(step), name, f"{value}\\n"]))

    def plot(self, step, name, plot) -> None:
        """A table holds no plots."""

    def pr_curves(self, step, name, scores, labels, names) -> None:
        """A table holds no curves."""

    def artefact(self, path) -> None:
        """A table holds no files."""

    def finish(self, status, final) -> None:
        """`results.json` holds the final metrics."""
'''

TRACKER_CLASS = '''@dataclass(config=STRICT, kw_only=True)
class TableConfig:
    """Every logged value as a row of `metrics.csv`."""

    separator: str = ","
    """Character between two columns."""


'''

TRACKER_FIELD = '''    table: TableConfig | None = None
    """`metrics.csv`; null: none."""
'''

TRACKER_IN_BUILD = """    if cfg.table is not None:
        makers["table"] = partial(_table, cfg.table, run, step)
"""

TRACKER_MAKER = """def _table(cfg, run: RunDir, step: int) -> Tracker:
    from ostinato.trackers.table import TableTracker

    return TableTracker(cfg, run, step)


"""

TRACKER_TEST = """from ostinato.config import TableConfig
from ostinato.run_dir import RunDir
from ostinato.trackers.table import TableTracker


def test_a_resumed_run_continues_the_table(tmp_path):
    run = RunDir(tmp_path)
    first = TableTracker(TableConfig(), run, 0)
    first.start({}, {})
    first.log(1, {"train/loss": 0.5})
    first.log(2, {"train/loss": 0.25})
    second = TableTracker(TableConfig(), run, 1)
    second.start({}, {})
    second.log(2, {"train/loss": 0.125})
    assert run.table.read_text() == "1,train/loss,0.5\\n2,train/loss,0.125\\n"
"""

METRIC_VALUE = """        "top2_accuracy": (
            (labels[:, None] == values.argsort(axis=1)[:, -2:]).any(axis=1).mean()
        ),
"""

METRIC_TEST = """import numpy as np

from ostinato.config import Task
from ostinato.scoring.scores import score


def test_a_label_among_the_two_most_likely_counts():
    logits = np.array([[3, 2, 1], [3, 2, 1], [3, 2, 1]], dtype=np.float32)
    scores = score(Task.single_label, logits, np.array([0, 1, 2]), ["a", "b", "c"])
    assert scores.metrics["top2_accuracy"] == 2 / 3
"""

COMMAND_CONF = """# Count the rows of a csv file.
defaults:
  - count_rows_schema
  - _self_
  - override hydra/job_logging: stderr

hydra:
  run:
    dir: .
  output_subdir: null
"""

COMMAND_CLASS = '''"""The command `count_rows`."""

from pydantic.dataclasses import dataclass

from ostinato.config.types import MISSING, STRICT


@dataclass(config=STRICT, kw_only=True)
class CountRowsConfig:
    """Count the rows of a csv file."""

    path: str = MISSING
    """A csv file with a header."""
'''

COMMAND_WORK = '''"""Counts the rows of a csv file."""

import csv
from pathlib import Path


def count_rows(path: str) -> int:
    """Counts the rows below the header."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        return len(list(csv.DictReader(file)))
'''

COMMAND_SCRIPT = '''"""Count the rows of a csv file: python scripts/count_rows.py path=new.csv"""

import sys

from ostinato.cli.command import command
from ostinato.config import CountRowsConfig


@command("count_rows")
def main(config: CountRowsConfig) -> None:
    """Prints the number of rows."""
    from ostinato.data.count_rows import count_rows

    sys.stdout.write(f"{count_rows(config.path)}\\n")


if __name__ == "__main__":
    main()
'''

COMMAND_TEST = """from ostinato.data.count_rows import count_rows


def test_a_line_break_in_a_text_does_not_start_a_row(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text('text,label\\n"two\\nlines",a\\none,b\\n')
    assert count_rows(str(file)) == 2
"""

EXAMPLES = [
    Example(
        "Add a tracker",
        {"<name>": "table"},
        new={
            "src/ostinato/trackers/table.py": TRACKER,
            "conf/tracker/table.yaml": 'table:\n  separator: ","\n',
            "tests/trackers/test_table.py": TRACKER_TEST,
        },
        edits=[
            ("    return Trackers(", TRACKER_IN_BUILD),
            ("def _dvclive(", TRACKER_MAKER),
            (
                "@dataclass(config=STRICT, kw_only=True)\nclass TrackerConfig:",
                TRACKER_CLASS,
            ),
            ("    timeout: Count", TRACKER_FIELD),
            ("\n    TensorboardConfig,", "\n    TableConfig,"),
            ('\n    "TensorboardConfig",', '\n    "TableConfig",'),
            (
                "        self.dvclive =",
                '        self.table = self.path / "metrics.csv"\n',
            ),
            (
                "| `dvclive` |",
                "| `table` | | `metrics.csv` in the run folder | any spreadsheet |\n",
            ),
        ],
        documents_keys=True,
    ),
    Example(
        "Add a metric",
        {"<name>": "top2_accuracy"},
        new={"tests/scoring/test_top2_accuracy.py": METRIC_TEST},
        edits=[
            ('        *("auroc", "ece", "brier"),', '        "top2_accuracy",\n'),
            ('        "brier": brier_score_loss(', METRIC_VALUE),
        ],
    ),
    Example(
        "Add a command",
        {"<name>": "count_rows", "<room>": "data"},
        new={
            "conf/count_rows.yaml": COMMAND_CONF,
            "src/ostinato/config/count_rows.py": COMMAND_CLASS,
            "src/ostinato/data/count_rows.py": COMMAND_WORK,
            "scripts/count_rows.py": COMMAND_SCRIPT,
            "tests/data/test_count_rows.py": COMMAND_TEST,
        },
        edits=[
            (
                "from ostinato.config.data import DataConfig",
                "from ostinato.config.count_rows import CountRowsConfig\n",
            ),
            ('\n    "CrashTestConfig",', '\n    "CountRowsConfig",'),
            (
                '    "cache": schemas.CacheConfig,',
                '    "count_rows": schemas.CountRowsConfig,\n',
            ),
            (
                'echo "Oil prices rose" |',
                "python scripts/count_rows.py path=new.csv\n",
            ),
        ],
    ),
]
