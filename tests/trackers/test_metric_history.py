"""results.json holds the history of every metric, with any trackers."""

import json

import pytest
from runs import train_in, train_until_killed
from tracked import from_jsonl, from_results, without_speeds

from ostinato.run_dir import read_config, read_json


@pytest.mark.slow
@pytest.mark.parametrize(
    ("killed", "chosen"),
    [
        pytest.param(False, "[]", marks=pytest.mark.proof),
        pytest.param(False, "[jsonl]", marks=pytest.mark.proof),
        (True, "[]"),
        (True, "[jsonl]"),
    ],
)
def test_results_hold_the_history_of_every_metric(
    tmp_path, monkeypatch, chosen, killed
):
    options = [
        f"tracker={chosen}",
        "training.log_every=1",
        "training.checkpoint_every=4",
    ]
    if killed:
        train_until_killed(monkeypatch, 6, tmp_path / "run", *options)
        options.append(f"resume.run={tmp_path / 'run'}")
    run = train_in(tmp_path / "run", *options)
    whole = train_in(tmp_path / "whole", "tracker=[jsonl]", "training.log_every=1")
    history, expected = from_results(run), from_jsonl(whole)
    assert without_speeds(history) == without_speeds(expected)
    assert set(history) == set(expected)

    results = read_json(run.results)
    assert results["name"] == "debug"
    assert results["config"] == read_config(run)
    for points in results["metrics"].values():
        times = [point["timestamp"] for point in points]
        assert times == sorted(times)


@pytest.mark.slow
def test_pandas_reads_the_history(tmp_path):
    pd = pytest.importorskip("pandas")
    run = train_in(tmp_path, "tracker=[]", "training.log_every=1")
    metrics = json.loads(run.results.read_text())["metrics"]
    frames = {name: pd.DataFrame(points) for name, points in metrics.items()}
    frame = pd.concat(frames, names=["metric"])
    table = frame.pivot_table(index="step", columns="metric", values="value")
    assert table.loc[4, "val/loss"] == from_results(run)["val/loss", 4][0]
