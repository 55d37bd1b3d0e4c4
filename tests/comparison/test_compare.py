"""Comparisons of runs and tables: every run is in, collapsed and failed ones by name; validation chooses."""

import csv
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from preloaded import python
from runs import train_in

from ostinato.comparison.compare import compare, compare_runs
from ostinato.comparison.page import View, write
from ostinato.comparison.runs import find_runs
from ostinato.comparison.statistics import Verdict
from ostinato.config import CompareConfig, ComparisonConfig
from ostinato.errors import ConfigError, DataError
from ostinato.run_dir import RunDir, read_json
from ostinato.storage.atomic import write_json

ROOT = Path(__file__).parents[2]
SCORES = ROOT.parent / "shared" / "data" / "setfit" / "scores.csv"

needs_scores = pytest.mark.skipif(
    not SCORES.is_file(), reason=f"needs {SCORES.name} of published scores"
)


def published(dataset, split, baseline, **options):
    where = [f"dataset:{dataset}", f"split:{split}"]
    columns = {"configuration_column": "model", "sample_column": "split"}
    cfg = CompareConfig(
        table=str(SCORES),
        where=where,
        compare=ComparisonConfig(baseline=baseline),
        **columns,
        **options,
    )
    return compare(cfg)


@needs_scores
@pytest.mark.parametrize(
    ("baseline", "row"),
    [
        ("distilbert", ["+7.0", "[3.8, 10.3]", ".002", Verdict.better]),
        ("mpnet-base-v2-epochs", ["+0.2", "[-0.8, 1.2]", ".70", Verdict.unclear]),
    ],
)
def test_published_scores_give_the_known_differences(baseline, row):
    comparison = published("ag_news", "train-8-*", baseline)
    pair = next(p for p in comparison.against_baseline if "MiniLM" in p.first)
    shown = next(r for r in View(comparison).pairs() if "MiniLM" in r[0])
    assert [*shown[1:4], pair.verdict] == row


@needs_scores
def test_collapsed_runs_are_named_counted_and_left_in():
    comparison = published("emotion", "train-64-*", "distilbert", majority=34.75)
    roberta = next(
        c for c in comparison.configurations if c.name == "transformers_roberta-large"
    )
    assert [(p.run, round(p.score, 2)) for p in roberta.points if p.collapsed] == [
        ("train-64-5", 13.75)
    ]
    assert (roberta.summary.n, round(roberta.summary.sd, 1)) == (10, 18.2)
    assert (roberta.without_collapsed.n, round(roberta.without_collapsed.sd, 1)) == (
        9,
        2.7,
    )
    assert (
        "collapsed: train-64-5 (transformers_roberta-large): 13.8"
        in View(comparison).lines()
    )
    unknown = published("emotion", "train-64-*", "distilbert")
    assert any("train-64-5 is far from the others" in note for note in unknown.notes)


def table(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["configuration", "seed", "score"], *rows])
    return CompareConfig(table=str(path))


def test_a_table_without_a_score_lists_the_failed_run(tmp_path):
    comparison = compare(
        table(
            tmp_path / "t.csv",
            [("a", 1, 0.5), ("a", 2, "nan"), ("b", 1, 0.4), ("b", 2, 0.6)],
        )
    )
    assert [(c.name, c.summary.n, c.failed) for c in comparison.configurations] == [
        ("a", 1, 1),
        ("b", 2, 0),
    ]
    assert comparison.against_baseline[0].difference.n == 1
    assert any("1 runs have no partner" in note for note in comparison.notes)


@pytest.mark.parametrize(
    ("rows", "options", "error", "parts"),
    [
        ([("a", 1, 0.5), ("a", 1, 0.6)], {}, DataError, ["a has several scores for 1"]),
        ([("a", 1, "high")], {}, DataError, ["line 2", "'high' is no number"]),
        (
            [("a", 1, 0.5)],
            {"score_column": "f1"},
            ConfigError,
            ["score_column=f1", "configuration, seed, score"],
        ),
        ([("a", 1, 0.5)], {"where": ["seed:2"]}, ConfigError, ["fits no row"]),
        (
            [("a", 1, 0.5)],
            {"compare": ComparisonConfig(baseline="c")},
            ConfigError,
            ["compare.baseline=c", "one of: a"],
        ),
    ],
)
def test_a_mistake_in_a_table_names_key_and_remedy(
    tmp_path, rows, options, error, parts
):
    table(tmp_path / "t.csv", rows)
    with pytest.raises(error) as caught:
        compare(CompareConfig(table=str(tmp_path / "t.csv"), **options))
    for part in parts:
        assert part in str(caught.value)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Two learning rates, two seeds, the validation and test rows the same for all."""
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
def test_runs_that_differ_only_in_seeds_are_one_configuration(sweep):
    comparison = of(sweep)
    assert [c.name for c in comparison.configurations] == [
        "training.lr=0.001",
        "training.lr=0.02",
    ]
    scores = [
        read_json(RunDir(sweep / f"{n}_debug").results)["val"]["accuracy"]
        for n in range(4)
    ]
    assert [p.score for c in comparison.configurations for p in c.points] == scores
    assert comparison.against_baseline[0].difference.n == 2


def test_validation_chooses_and_test_is_reported_once(sweep):
    comparison = of(sweep)
    best = max(comparison.configurations, key=lambda c: c.summary.mean)
    assert comparison.chosen.name == best.name
    assert comparison.chosen.test.n == 2
    test_metrics = [
        line for line in View(comparison).lines() if "its test/accuracy" in line
    ]
    assert len(test_metrics) == 1
    assert of(sweep, metric="test/accuracy").chosen is None


def test_chance_by_rows_stands_apart_from_chance_by_seeds(sweep):
    pair = of(sweep).against_baseline[0]
    assert pair.rows.num_rows == 30
    assert pair.rows.mean == pytest.approx(pair.difference.mean)
    assert pair.rows.interval[0] <= pair.rows.mean <= pair.rows.interval[1]


def test_rows_that_differ_are_not_compared_row_by_row(copy):
    for number in (1, 3):
        provenance = RunDir(copy / f"{number}_debug").provenance
        write_json(
            provenance,
            read_json(provenance) | {"data": {"val": "other", "test": "other"}},
        )
    comparison = of(copy)
    assert comparison.against_baseline[0].rows is None
    assert any("rows differ between seeds" in note for note in comparison.notes)


def test_failed_killed_and_damaged_runs_are_listed_with_their_reason(copy):
    edit(copy / "0_debug", status="failed", error="the loss is nan at step 3")
    RunDir(copy / "1_debug").results.unlink()
    RunDir(copy / "2_debug").results.write_text("{")
    lines = "\n".join(View(of(copy)).lines())
    assert (
        "failed: 0_debug (training.lr=0.001, seed 1 split=0 subsample=0): the loss is nan at step 3"
        in lines
    )
    assert (
        "unfinished: 1_debug (training.lr=0.001, seed 2 split=0 subsample=0): no results.json"
        in lines
    )
    assert "failed: 2_debug" in lines
    assert "damaged" in lines


def test_at_or_below_the_majority_class_is_collapsed(copy):
    for number, accuracy in ((0, 0.5), (1, 0.51)):
        val = read_json(RunDir(copy / f"{number}_debug").results)["val"]
        edit(
            copy / f"{number}_debug",
            val=val | {"accuracy": accuracy, "majority": {"accuracy": 0.5}},
        )
    first = of(copy).configurations[0]
    assert [p.collapsed for p in first.points] == [True, False]
    assert (first.summary.mean, first.without_collapsed.mean) == (0.505, 0.51)


def test_a_repetition_counts_once_and_is_named(copy):
    shutil.copytree(copy / "0_debug", copy / "9_debug")
    comparison = of(copy)
    assert [c.summary.n for c in comparison.configurations] == [2, 2]
    assert any(
        note.startswith("0_debug: the same config and seed as 9_debug")
        for note in comparison.notes
    )


def test_what_differs_beside_the_config_is_said(copy):
    provenance = RunDir(copy / "3_debug").provenance
    changed = read_json(provenance) | {
        "code": "0" * 64,
        "threads": 64,
        "data": {"train": "x"},
    }
    write_json(provenance, changed)
    notes = "\n".join(of(copy).notes)
    assert "differs in 1 of 4 runs: code: " in notes
    assert "threads: " in notes
    assert "the data of seed 2" in notes
    assert not of(copy.parent / "sweep", metric="val/loss").higher_is_better


def test_the_files_hold_everything_and_the_page_stands_alone(sweep, tmp_path):
    write(of(sweep), tmp_path, "sweep")
    stored = json.loads((tmp_path / "sweep.json").read_text())
    assert len(stored["configurations"][1]["points"]) == 2
    page = (tmp_path / "sweep.html").read_text()
    assert page.count("<svg") == 2
    assert "http" not in page.replace("http://www.w3.org", "").replace("http-equiv", "")
    assert "<script" not in page
    rows = [
        line
        for line in (tmp_path / "sweep.md").read_text().splitlines()
        if line.startswith("|")
    ]
    assert {line.count("|") for line in rows} == {9}


def test_names_from_outside_cannot_break_the_page(tmp_path):
    rows = [("<b>$x$|y</b>", seed, 0.5 + seed / 10) for seed in (1, 2)] + [
        ("b", seed, 0.4) for seed in (1, 2)
    ]
    write(compare(table(tmp_path / "t.csv", rows)), tmp_path, "compare")
    assert "<b>" not in (tmp_path / "compare.html").read_text()
    assert r"&lt;b>$x$\|y&lt;/b>" in (tmp_path / "compare.md").read_text()


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
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "compare.html",
        "compare.json",
        "compare.md",
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
