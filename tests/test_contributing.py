"""The recipes of CONTRIBUTING.md work: each is carried out on a copy of the project.

A recipe must name exactly the files that change, and the result must run.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COPIED = ("conf", "scripts", "src", "tests", "docs", "README.md", "pyproject.toml")
NAMED_FILE = re.compile(r"^- `([^`]+)`( \(new\))?:", flags=re.M)

pytestmark = pytest.mark.slow


class Recipe:
    """A section of CONTRIBUTING.md, carried out for one example.

    Args:
        section: the heading of the section.
        names: what its placeholders mean, e.g. {"<name>": "table"}.
        new: the content of each new file, by path.
        edits: text to insert before an anchor; the anchor finds the file.
        generated: files that a command of the project writes.
    """

    def __init__(self, section, names, new, edits, generated=()):
        self.section = section
        self.new = new
        self.edits = edits
        self.generated = set(generated)
        self.named = {}
        for path, is_new in NAMED_FILE.findall(self._text()):
            for placeholder, name in names.items():
                path = path.replace(placeholder, name)
            self.named[path] = bool(is_new)

    def _text(self):
        guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
        return guide.split(f"\n## {self.section}\n")[1].split("\n## ")[0]

    def carry_out(self, project):
        """Writes the new files and applies each edit to the named file that it fits."""
        for path, content in self.new.items():
            assert not (project / path).exists()
            (project / path).write_text(content)
        for anchor, inserted in self.edits:
            file = self._file_with(project, anchor)
            text = file.read_text(encoding="utf-8")
            file.write_text(text.replace(anchor, inserted + anchor), encoding="utf-8")
        if "README.md" in self.generated:
            run(project, "scripts/document_keys.py")

    def _file_with(self, project, anchor):
        """The one named file that holds the anchor."""
        existing = [project / path for path, is_new in self.named.items() if not is_new]
        found = [file for file in existing if anchor in file.read_text("utf-8")]
        assert len(found) == 1, f"{self.section}: {anchor!r} is in {found}"
        return found[0]


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
from ostinato.scoring.metrics import score


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

RECIPES = [
    Recipe(
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
        generated=["README.md"],
    ),
    Recipe(
        "Add a metric",
        {"<name>": "top2_accuracy"},
        new={"tests/scoring/test_top2_accuracy.py": METRIC_TEST},
        edits=[
            ('        *("auroc", "ece", "brier"),', '        "top2_accuracy",\n'),
            ('        "brier": brier_score_loss(', METRIC_VALUE),
        ],
    ),
    Recipe(
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
SECTIONS = {recipe.section: recipe for recipe in RECIPES}


def run(project, *command):
    """Runs a command on the package of the copy; returns its standard output."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project / "src")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def contents(project):
    """The bytes of every file of a project, by path."""
    files = {}
    for path in sorted(project.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            files[path.relative_to(project).as_posix()] = path.read_bytes()
    return files


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the project after all recipes, and what each recipe changed."""
    project = tmp_path_factory.mktemp("contributor") / "ostinato"
    project.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            unwanted = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, project / name, ignore=unwanted)
        else:
            shutil.copy(ROOT / name, project)
    changed = {}
    before = contents(project)
    for recipe in RECIPES:
        recipe.carry_out(project)
        after = contents(project)
        changed[recipe.section] = {
            path: path not in before
            for path in after
            if after[path] != before.get(path)
        }
        before = after
    return project, changed


@pytest.fixture(scope="module")
def trained(extended):
    """A run folder of the debug preset with the new tracker and the new metric."""
    project, _ = extended
    folder = project / "outputs" / "run"
    run(
        project,
        "scripts/train.py",
        "experiment=debug",
        "training.epochs=1",
        "tracker=table",
        "training.monitor=top2_accuracy",
        f"hydra.run.dir={folder}",
    )
    return folder


@pytest.mark.parametrize("section", SECTIONS)
def test_a_recipe_names_exactly_the_files_that_change(section, extended):
    _, changed = extended
    assert changed[section] == SECTIONS[section].named


def test_the_new_tracker_writes_what_a_training_logs(trained):
    rows = (trained / "metrics.csv").read_text().splitlines()
    logged = {row.split(",")[1] for row in rows}
    assert {"train/loss", "val/accuracy", "val/top2_accuracy"} <= logged


def test_the_new_metric_is_in_the_results(trained):
    results = json.loads((trained / "results.json").read_text())
    for split in ("val", "test"):
        metrics = results[split]
        assert metrics["accuracy"] <= metrics["top2_accuracy"] <= 1


def test_the_new_options_are_in_the_table_of_keys(extended):
    project, _ = extended
    readme = (project / "README.md").read_text(encoding="utf-8")
    assert "| `tracker.table.separator` | `,` | Character between" in readme


def test_the_new_command_runs_and_explains_itself(extended, tmp_path):
    project, _ = extended
    file = tmp_path / "new.csv"
    file.write_text("text,label\nrain,weather\ngoal,sport\n")
    assert run(project, "scripts/count_rows.py", f"path={file}") == "2\n"
    assert "A csv file with a header." in run(
        project, "scripts/count_rows.py", "--help"
    )


def test_the_tests_of_the_recipes_and_the_architecture_pass(extended):
    project, changed = extended
    added = []
    for paths in changed.values():
        added += [path for path in paths if path.startswith("tests/")]
    assert len(added) == len(RECIPES)
    static = "layer or cycle or one_way or door or resumed or likely or line_break"
    run(
        project,
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", static),
        *added,
        "tests/test_architecture.py",
    )
