"""Comparisons of tables: all runs are included, and mistakes name key and remedy."""

import csv
from pathlib import Path

import pytest

from ostinato.comparison.compare import compare
from ostinato.comparison.page import write
from ostinato.comparison.significance import Verdict
from ostinato.comparison.view import View
from ostinato.config import CompareConfig, ComparisonConfig
from ostinato.errors import ConfigError, DataError

ROOT = Path(__file__).parents[2]
SCORES = ROOT.parent / "shared" / "data" / "setfit" / "scores.csv"

needs_scores = pytest.mark.skipif(
    not SCORES.is_file(), reason=f"needs {SCORES.name} of published scores"
)


def published(dataset, split, baseline, **options):
    cfg = CompareConfig(
        table=str(SCORES),
        configuration_column="model",
        sample_column="split",
        where=[f"dataset:{dataset}", f"split:{split}"],
        compare=ComparisonConfig(baseline=baseline),
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
def test_collapsed_runs_are_named_counted_and_included():
    comparison = published("emotion", "train-64-*", "distilbert", majority=34.75)
    roberta = next(
        c for c in comparison.configurations if c.name == "transformers_roberta-large"
    )
    collapsed = [p for p in roberta.points if p.collapsed]
    assert [(p.run, round(p.score, 2)) for p in collapsed] == [("train-64-5", 13.75)]
    assert roberta.summary.n == 10
    assert round(roberta.summary.sd, 1) == 18.2
    assert roberta.without_collapsed.n == 9
    assert round(roberta.without_collapsed.sd, 1) == 2.7
    line = "collapsed: train-64-5 (transformers_roberta-large): 13.8"
    assert line in View(comparison).lines()
    unknown = published("emotion", "train-64-*", "distilbert")
    assert any("train-64-5 is far from the others" in note for note in unknown.notes)


def table(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["configuration", "seed", "score"], *rows])
    return CompareConfig(table=str(path))


def test_a_table_without_a_score_lists_the_failed_run(tmp_path):
    rows = [("a", 1, 0.5), ("a", 2, "nan"), ("b", 1, 0.4), ("b", 2, 0.6)]
    comparison = compare(table(tmp_path / "t.csv", rows))
    first, second = comparison.configurations
    assert (first.name, first.summary.n, first.failed) == ("a", 1, 1)
    assert (second.name, second.summary.n, second.failed) == ("b", 2, 0)
    assert comparison.against_baseline[0].difference.n == 1
    assert any("1 run has no partner" in note for note in comparison.notes)


@pytest.mark.parametrize(
    ("rows", "options", "error", "parts"),
    [
        ([("a", 1, 0.5), ("a", 1, 0.6)], {}, DataError, ["a has several scores for 1"]),
        ([("a", 1, "high")], {}, DataError, ["line 2", "'high' is not a number"]),
        (
            [("a", 1, 0.5)],
            {"score_column": "f1"},
            ConfigError,
            ["score_column=f1", "configuration, seed, score"],
        ),
        ([("a", 1, 0.5)], {"where": ["seed:2"]}, ConfigError, ["matches no row"]),
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


def test_names_in_a_table_cannot_break_the_page(tmp_path):
    name = "<b>$x$|y</b>"
    rows = [(name, 1, 0.6), (name, 2, 0.7), ("b", 1, 0.4), ("b", 2, 0.4)]
    write(compare(table(tmp_path / "t.csv", rows)), tmp_path, "compare")
    assert "<b>" not in (tmp_path / "compare.html").read_text()
    assert r"&lt;b>$x$\|y&lt;/b>" in (tmp_path / "compare.md").read_text()
