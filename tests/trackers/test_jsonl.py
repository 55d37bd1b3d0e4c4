"""metrics.jsonl holds every logged value, also after a run was killed and resumed."""

import pytest
from tracker_calls import (
    TWO_TRACKERS,
    call_all_methods,
    expected_values,
    logged_values,
)

from ostinato.config import JsonlConfig, TrackerConfig
from ostinato.run_dir import RunDir
from ostinato.trackers import build


def test_every_logged_value_is_a_line(tmp_path):
    run = RunDir(tmp_path)
    call_all_methods(build(TWO_TRACKERS, run))
    assert logged_values(run) == expected_values([1, 2, 3])


def test_a_value_is_on_disk_as_soon_as_it_is_logged(tmp_path):
    run = RunDir(tmp_path)
    trackers = build(TrackerConfig(jsonl=JsonlConfig()), run)
    trackers.start({}, {})
    trackers.log(1, {"train/loss": 1.0, "train/lr": 1e-4})
    assert logged_values(run) == expected_values([1])


@pytest.mark.parametrize(
    "damaged_end", ["", "\n", '\n{"step": 4, "ti', '\n{"step": "x"}\n', "\n[1]\n"]
)
def test_a_resumed_run_has_the_lines_of_an_uninterrupted_run(tmp_path, damaged_end):
    run = RunDir(tmp_path)
    call_all_methods(build(TWO_TRACKERS, run), range(1, 6))
    whole = run.metrics.read_text().removesuffix("\n")
    run.metrics.write_text(whole + damaged_end)
    call_all_methods(build(TWO_TRACKERS, run, step=3), range(4, 8))
    assert logged_values(run) == expected_values(range(1, 8))


def test_nan_is_not_written_and_disables_the_tracker(tmp_path, caplog):
    run = RunDir(tmp_path)
    trackers = build(TrackerConfig(jsonl=JsonlConfig()), run)
    trackers.start({}, {})
    trackers.log(1, {"train/loss": float("nan")})
    assert logged_values(run) == []
    assert "jsonl" in caplog.text
