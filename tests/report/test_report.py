"""The report shows what the run found and names what is missing."""

import logging
import shutil

import numpy as np
import pytest
from report_pages import SCRIPT, copy_of, page_of, write_report_again, write_rows
from runs import configure, train_in

from ostinato.config import ReportConfig, Task
from ostinato.record.digests import digest_file
from ostinato.report import run_end
from ostinato.report.page import report
from ostinato.report.run_contents import read_run_contents
from ostinato.report.run_metrics import RunMetrics
from ostinato.run_dir import read_json
from ostinato.scoring.metrics import probabilities
from ostinato.scoring.predictions import load_predictions, save_predictions


@pytest.mark.slow
def test_the_report_shows_the_results(run):
    results, shown = read_json(run.results), page_of(run).shown
    for split in ("val", "test"):
        for name, value in results[split].items():
            assert not isinstance(value, float) or f"{value:.4f}" in shown, name
        assert results["data"]["used"][split]["sha256"] in shown
    for value in results["test"]["majority"].values():
        assert f"{value:.4f}" in shown
    assert read_json(run.fingerprint)["best_weights"] in shown
    assert f"scripts/reproduce.py run={run.path}" in shown
    assert "batch_size: 16" in shown


def digests(run):
    """SHA-256 of every file but the report."""
    files = [path for path in run.path.rglob("*") if path.is_file()]
    return {path: digest_file(path) for path in files if path != run.report}


@pytest.mark.slow
def test_writing_a_report_changes_no_other_file(run):
    before = digests(run)
    write_report_again(run)
    assert digests(run) == before
    assert digest_file(run.best_weights) == read_json(run.fingerprint)["best_weights"]


@pytest.mark.slow
def test_a_run_without_predictions_is_scored_again(run, tmp_path):
    original = page_of(run).shown
    old = copy_of(run, tmp_path / "old")
    shutil.rmtree(old.path / "predictions")
    old.calibration.unlink(missing_ok=True)
    shown = write_report_again(old).shown
    note = (
        "test: there are no saved predictions; its rows were scored again "
        "for this report\n"
    )
    assert note in shown
    metrics = original[original.index("Final metrics") : original.index("Curves")]
    assert metrics in shown


@pytest.mark.slow
def test_an_unfinished_run_is_shown_but_not_scored(run, tmp_path):
    young = copy_of(run, tmp_path / "young")
    for path in (young.results, young.fingerprint, young.report):
        path.unlink()
    shutil.rmtree(young.path / "predictions")
    shown = write_report_again(young).shown
    assert "not finished" in shown
    note = "results.json is missing; the run has not ended, or it was killed"
    assert note in shown
    assert "Curves" in shown
    assert "Final metrics" not in shown

    for path in (young.metrics, young.provenance):
        path.unlink()
    shutil.rmtree(young.best)
    assert "provenance.json is missing" in write_report_again(young).shown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("test_file", "note"),
    [
        ("other.csv", "the data has changed since the run (test)"),
        pytest.param(*("lost.csv", "lost.csv: no such file"), marks=pytest.mark.proof),
    ],
)
def test_texts_of_changed_or_lost_data_are_not_shown(
    hostile, tmp_path, test_file, note
):
    run = copy_of(hostile, tmp_path / "run")
    folder = hostile.path.parent
    rows = [["another text", f"{SCRIPT} 0", "x"]]
    changed = write_rows(tmp_path / "other.csv", rows)
    test_path = changed if test_file == "other.csv" else test_file
    config, _ = configure(
        "data=files",
        f"data.train_path={folder}/train.csv",
        f"data.val_path={folder}/val.csv",
        f"data.test_path={test_path}",
    )
    report(ReportConfig(run=str(run.path)), run, config)
    shown = page_of(run).shown
    assert note in shown
    assert "Most confident errors" not in shown
    assert "Final metrics" in shown


@pytest.mark.slow
def test_a_failing_report_is_one_warning_and_the_run_finishes(
    tmp_path, monkeypatch, caplog
):
    def broken(*arguments):
        raise RuntimeError("no\nink")

    monkeypatch.setattr(run_end, "write_report", broken)
    with caplog.at_level(logging.WARNING):
        run = train_in(tmp_path / "run", "training.epochs=1", report=True)
    assert [record.message for record in caplog.records] == [
        "the report could not be written: RuntimeError: no ink"
    ]
    assert read_json(run.results)["status"] == "finished"
    assert run.fingerprint.is_file()
    assert not run.report.exists()


@pytest.mark.parametrize("run", ["single_label", "multi_label"], indirect=True)
def test_without_errors_calibration_makes_no_prediction_certain(run, tmp_path):
    """A temperature below 1 would lower the loss without end."""
    task = Task(read_json(run.results)["config"]["data"]["task"])
    config, _ = configure(f"data.task={task.value}")
    certain = copy_of(run, tmp_path / "certain")
    certain.calibration.unlink()
    for split in ("val", "test"):
        logits, labels = load_predictions(run.predictions(split))
        is_true = labels
        if task is Task.single_label:
            is_true = np.eye(logits.shape[1])[labels]
        right = (8 * is_true - 4).astype(np.float32)
        save_predictions(certain.predictions(split), right, labels)

    contents = read_run_contents(certain, config)
    metrics = RunMetrics(contents)

    assert contents.calibration.temperature == 1
    for split, (logits, _) in contents.predictions.items():
        assert metrics.scores[split].metrics["micro_f1"] == 1
        after = metrics.calibrated_scores[split].metrics
        assert after == metrics.scores[split].metrics
        assert probabilities(task, contents.calibration.scaled(logits)).max() < 0.9999
