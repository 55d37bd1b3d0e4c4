"""Comparisons of runs: all runs are included, and validation chooses a configuration."""

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from preloaded import python
from runs import train_in

from ostinato.comparison.compare import compare_runs
from ostinato.comparison.page import write
from ostinato.comparison.runs import find_runs
from ostinato.comparison.view import View
from ostinato.config import ComparisonConfig
from ostinato.run_dir import RunDir, read_json
from ostinato.storage.atomic import write_json

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Two learning rates and two seeds, with the same validation and test rows."""
    folder = tmp_path_factory.mktemp("sweep")
    same_rows = ("training.seeds.split=0", "training.seeds.subsample=0")
    for number, (lr, seed) in enumerate([(1e-3, 1), (1e-3, 2), (2e-2, 1), (2e-2, 2)]):
        train_in(
            folder / f"{number}_debug",
            f"training.lr={lr}",
            f"seed={seed}",
            "tracker=jsonl",
            *same_rows,
        )
    return folder


@pytest.fixture
def copy(sweep, tmp_path):
    return Path(shutil.copytree(sweep, tmp_path / "sweep"))


def edit(folder, **values):
    results = RunDir(folder).results
    write_json(results, read_json(results) | values)


def of(folder, **options):
    return compare_runs(find_runs([str(folder)]), ComparisonConfig(**options))


@pytest.mark.slow
def test_labels_that_are_numbers_and_texts_identify_a_configuration(sweep):
    run = find_runs([str(sweep)])[0]
    weights = {1: 2.0, "other": 3.0}
    mixed = dataclasses.replace(run, identity={"class_weights": weights})
    assert mixed.group == '{"class_weights": {"1": 2.0, "other": 3.0}}'


@pytest.mark.slow
def test_runs_that_differ_only_in_seeds_are_one_configuration(sweep):
    comparison = of(sweep)
    names = [c.name for c in comparison.configurations]
    assert names == ["training.lr=0.001", "training.lr=0.02"]
    expected = []
    for number in range(4):
        results = read_json(RunDir(sweep / f"{number}_debug").results)
        expected.append(results["val"]["accuracy"])
    scores = [p.score for c in comparison.configurations for p in c.points]
    assert scores == expected
    assert comparison.against_baseline[0].difference.n == 2


def test_validation_chooses_and_test_is_reported_once(sweep):
    comparison = of(sweep)
    best = max(comparison.configurations, key=lambda c: c.summary.mean)
    assert comparison.chosen.name == best.name
    assert comparison.chosen.test.n == 2
    lines = View(comparison).lines()
    assert sum("its test/accuracy" in line for line in lines) == 1
    assert of(sweep, metric="test/accuracy").chosen is None


def test_the_uncertainty_from_rows_is_reported_for_each_pair(sweep):
    pair = of(sweep).against_baseline[0]
    assert pair.rows.num_rows == 30
    assert pair.rows.mean == pytest.approx(pair.difference.mean)
    assert pair.rows.interval[0] <= pair.rows.mean <= pair.rows.interval[1]


def test_rows_that_differ_are_not_compared_row_by_row(copy):
    for number in (1, 3):
        provenance = RunDir(copy / f"{number}_debug").provenance
        other_data = {"data": {"val": "other", "test": "other"}}
        write_json(provenance, read_json(provenance) | other_data)
    comparison = of(copy)
    assert comparison.against_baseline[0].rows is None
    assert any("rows differ between seeds" in note for note in comparison.notes)


def test_failed_killed_and_damaged_runs_are_listed_with_their_reason(copy):
    edit(copy / "0_debug", status="failed", error="the loss is nan at step 3")
    RunDir(copy / "1_debug").results.unlink()
    RunDir(copy / "2_debug").results.write_text("{")
    lines = "\n".join(View(of(copy)).lines())
    first = "0_debug (training.lr=0.001, seed 1 split=0 subsample=0)"
    second = "1_debug (training.lr=0.001, seed 2 split=0 subsample=0)"
    assert f"failed: {first}: the loss is nan at step 3" in lines
    assert f"unfinished: {second}: no results.json" in lines
    assert "failed: 2_debug" in lines
    assert "damaged" in lines


def test_at_or_below_the_majority_class_is_collapsed(copy):
    for number, accuracy in ((0, 0.5), (1, 0.51)):
        folder = copy / f"{number}_debug"
        val = read_json(RunDir(folder).results)["val"]
        changed = {"accuracy": accuracy, "majority": {"accuracy": 0.5}}
        edit(folder, val=val | changed)
    first = of(copy).configurations[0]
    assert [p.collapsed for p in first.points] == [True, False]
    assert (first.summary.mean, first.without_collapsed.mean) == (0.505, 0.51)


def test_a_repetition_is_counted_once_and_named(copy):
    shutil.copytree(copy / "0_debug", copy / "9_debug")
    comparison = of(copy)
    assert [c.summary.n for c in comparison.configurations] == [2, 2]
    beginning = "0_debug: has the same config and seed as 9_debug"
    assert any(note.startswith(beginning) for note in comparison.notes)


def test_differences_besides_the_config_are_reported(copy):
    provenance = RunDir(copy / "3_debug").provenance
    changed = {"code": "0" * 64, "threads": 64, "data": {"train": "x"}}
    write_json(provenance, read_json(provenance) | changed)
    notes = "\n".join(of(copy).notes)
    assert "differs in 1 of 4 runs: code: " in notes
    assert "threads: " in notes
    assert "the data of seed 2" in notes
    assert not of(copy.parent / "sweep", metric="val/loss").higher_is_better


def test_the_files_are_complete_and_the_page_is_self_contained(sweep, tmp_path):
    write(of(sweep), tmp_path, "sweep")
    stored = json.loads((tmp_path / "sweep.json").read_text())
    assert len(stored["configurations"][1]["points"]) == 2
    page = (tmp_path / "sweep.html").read_text()
    assert page.count("<svg") == 2
    assert "http" not in page.replace("http://www.w3.org", "").replace("http-equiv", "")
    assert "<script" not in page
    lines = (tmp_path / "sweep.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in rows} == {9}


@pytest.mark.slow
def test_the_command_compares_sweeps_and_runs_of_any_date(sweep, tmp_path):
    runs = f"runs=[{sweep / '0_debug'},{sweep / '1_debug'},{sweep}]"
    done = subprocess.run(
        [
            python(),
            str(ROOT / "scripts" / "compare.py"),
            runs,
            "compare.margin=0.1",
            f"output={tmp_path / 'out'}",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "too few seeds" in done.stdout
    assert "6 seeds can reach .05" in done.stdout
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == ["compare.html", "compare.json", "compare.md"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
