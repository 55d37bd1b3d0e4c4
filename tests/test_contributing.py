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
from recipes import EXAMPLES

ROOT = Path(__file__).parents[1]
COPIED = ("conf", "scripts", "src", "tests", "docs", "README.md", "pyproject.toml")
NAMED_FILE = re.compile(r"^- `([^`]+)`( \(new\))?:", flags=re.M)

pytestmark = pytest.mark.slow


def named_files(example):
    """The files that a recipe names, and whether each one is new."""
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    recipe = guide.split(f"\n## {example.section}\n")[1].split("\n## ")[0]
    files = {}
    for path, is_new in NAMED_FILE.findall(recipe):
        for placeholder, name in example.names.items():
            path = path.replace(placeholder, name)
        files[path] = bool(is_new)
    return files


def follow(example, project):
    """Writes the example's new files and applies its edits."""
    for path, content in example.new.items():
        assert not (project / path).exists()
        (project / path).write_text(content)
    for anchor, inserted in example.edits:
        file = file_with(anchor, example, project)
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace(anchor, inserted + anchor), encoding="utf-8")
    if example.documents_keys:
        run(project, "scripts/document_keys.py")


def file_with(anchor, example, project):
    """The one file that the recipe names and that holds the anchor."""
    named = named_files(example).items()
    existing = [project / path for path, is_new in named if not is_new]
    found = [file for file in existing if anchor in file.read_text(encoding="utf-8")]
    assert len(found) == 1, f"{example.section}: {anchor!r} is in {found}"
    return found[0]


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
    for example in EXAMPLES:
        follow(example, project)
        after = contents(project)
        changed[example.section] = {
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


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.section)
def test_a_recipe_names_exactly_the_files_that_change(example, extended):
    _, changed = extended
    assert changed[example.section] == named_files(example)


@pytest.mark.proof
def test_the_new_tracker_writes_what_a_training_logs(trained):
    rows = (trained / "metrics.csv").read_text().splitlines()
    logged = {row.split(",")[1] for row in rows}
    assert {"train/loss", "val/accuracy", "val/top2_accuracy"} <= logged


@pytest.mark.proof
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


@pytest.mark.proof
def test_the_tests_of_the_recipes_and_the_architecture_pass(extended):
    project, changed = extended
    added = []
    for paths in changed.values():
        added += [path for path in paths if path.startswith("tests/")]
    assert len(added) == len(EXAMPLES)
    static = "layer or cycle or one_way or door or resumed or likely or line_break"
    run(
        project,
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", static),
        *added,
        "tests/test_architecture.py",
    )
