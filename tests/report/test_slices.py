"""Slices: metrics by the value of a column of the data."""

import html

import pytest
from files import load
from report_pages import copy_of, page_of, write_rows
from runs import configure, train_in

from ostinato.config import ReportConfig
from ostinato.errors import DataError
from ostinato.report.page import report
from ostinato.report.slices import slice_values


@pytest.mark.slow
def test_a_report_notes_an_unknown_slice_and_shows_the_metrics(hostile, tmp_path):
    run = copy_of(hostile, tmp_path / "run")
    folder = hostile.path.parent
    config, _ = configure(
        "data=files",
        f"data.train_path={folder}/train.csv",
        f"data.val_path={folder}/val.csv",
        f"data.test_path={folder}/test.csv",
    )
    report(ReportConfig(run=str(run.path), slices=["sorce"]), run, config)
    shown = page_of(run).shown
    assert "no column 'sorce' (report.slices)" in html.unescape(shown)
    assert "Final metrics" in shown


def test_an_unknown_slice_stops_a_run_before_training(tmp_path):
    rows = [[f"text {i}", "ab"[i % 2], "s"] for i in range(20)]
    file = write_rows(tmp_path / "all.csv", rows)
    overrides = ("data=files", f"data.train_path={file}", "report.slices=[sorce]")
    with pytest.raises(DataError, match=r"no column 'sorce' \(report.slices\)"):
        train_in(tmp_path / "run", *overrides)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_generated_data_have_no_slices(tmp_path):
    message = r"report.slices=\[source\]: data.source=generated has no further columns"
    with pytest.raises(DataError, match=message):
        train_in(tmp_path / "run", "report.slices=[source]")


def test_slice_values_belong_to_their_rows_or_are_unknown(tmp_path):
    rows = [[f"text {i}", "ab"[i % 2], f"s{i % 3}"] for i in range(60)]
    rows += [
        ["two values", "a", "s0"],
        ["two values", "a", "s1"],
        ["one value", "b", "s2"],
        ["one value", "b", "s2"],
    ]
    file = write_rows(tmp_path / "all.csv", rows)
    other = write_rows(tmp_path / "test.csv", rows)
    data = load(train_path=str(file), test_path=str(other), limit_test=50)
    config, _ = configure(
        "data=files", f"data.train_path={file}", f"data.test_path={other}"
    )
    expected = {text: source for text, _, source in rows}
    expected["two values"] = None
    for split in (data.val, data.test):  # split off from train; a random subset
        values = slice_values(config.data, split, "source")
        assert values == [expected[text] for text in split.rows["text"]]
