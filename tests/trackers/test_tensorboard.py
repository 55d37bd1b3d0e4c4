"""The real TensorBoard server shows one run per folder, with all that was logged."""

import json
import re
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato.config import TensorboardConfig, TrackerConfig
from ostinato.run_dir import RunDir
from ostinato.scoring.plots import confusion_matrix
from ostinato.trackers import build

# One class has the name of a metric; the two must not be confused.
NAMES = ["accuracy", "b c", "d"]

# Learning rate of each run folder.
RUNS = {"2026-11-22/a_failed": 1e-2, "2026-11-22/b": 1e-3, "multirun/x/0_c": 1e-4}
FAILED, RESUMED, PLAIN = RUNS

FINAL = {"val/accuracy": 1.0, "test/accuracy": 0.75}
HPARAMS = {"training.lr", "model.pretrained", "model.name"}

Ask = Callable[..., Any]
"""Sends a request to the server: `ask(path, post=None, **query)`; returns its JSON."""


def write_run(
    folder: Path, lr: float, status: str, steps: Iterable[int], resumed_from: int = 0
) -> None:
    """Writes the event file of a session of a run."""
    random = np.random.default_rng(0)
    cfg = TrackerConfig(tensorboard=TensorboardConfig())
    trackers = build(cfg, RunDir(folder), resumed_from)
    config = {
        "training": {"lr": lr, "betas": [0.9, 0.99]},
        "model": {"pretrained": True, "name": "tiny"},
    }
    trackers.start(config, {"a": 1})
    for step in steps:
        trackers.log(step, {"train/loss": lr / step, "val/accuracy": 1 / step})
    if status == "finished":
        labels, scores = random.integers(0, 3, 30), random.random((30, 3))
        plot = confusion_matrix(np.eye(3, dtype=np.int64), NAMES)
        trackers.plot(1, "val/confusion_matrix", plot)
        trackers.pr_curves(1, "val", scores, labels, NAMES)
    trackers.finish(status, FINAL if status == "finished" else {})


@pytest.fixture(scope="module")
def ask(tmp_path_factory) -> Iterator[Ask]:
    """Sends requests to a server that shows three runs.

    One failed. One reached step 5 and was resumed from step 3. One ran without a break.
    """
    logdir = tmp_path_factory.mktemp("outputs")
    write_run(logdir / FAILED, RUNS[FAILED], "failed", [1, 2])
    write_run(logdir / RESUMED, RUNS[RESUMED], "interrupted", range(1, 6))
    time.sleep(1.1)  # the name of an event file holds the second
    write_run(logdir / RESUMED, RUNS[RESUMED], "finished", range(4, 8), resumed_from=3)
    write_run(logdir / PLAIN, RUNS[PLAIN], "finished", range(1, 8))

    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir)]
    command += ["--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as server:
        try:
            ask = requests_to(address_of(server))
            wait_until_read(ask)
            yield ask
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(20)


def address_of(server: subprocess.Popen) -> str:
    """The address that the server prints when it is ready."""
    for line in server.stderr:
        if match := re.search(r" at (http://\S+)", line):
            return match[1]
    raise AssertionError("the server ended")


def requests_to(url: str) -> Ask:
    def ask(path: str, post: Any = None, **query: str) -> Any:
        data = None if post is None else json.dumps(post).encode()
        address = f"{url}{path}?{urllib.parse.urlencode(query)}"
        request = urllib.request.Request(address, data)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=20) as reply:
            return json.load(reply)

    return ask


def wait_until_read(ask: Ask) -> None:
    """Waits for the server, which reads the files in the background."""
    deadline = time.monotonic() + 30
    while (
        len(session_groups(ask)) < len(RUNS)
        or len(ask("data/plugin/pr_curves/tags")) < 2
    ):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def session_groups(ask: Ask) -> dict[str, Any]:
    """Rows of the HParams table, by run."""
    statuses = ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")
    wanted = {
        "allowedStatuses": [f"STATUS_{status}" for status in statuses],
        "startIndex": 0,
        "sliceSize": 9,
    }
    reply = ask("data/plugin/hparams/session_groups", wanted)
    return {group["name"]: group for group in reply.get("sessionGroups", [])}


@pytest.mark.slow
def test_each_folder_is_one_run(ask):
    assert sorted(ask("data/runs")) == sorted(RUNS)


def test_every_scalar_is_shown(ask):
    shown = ask("data/plugin/scalars/tags")
    tags = {run: set(names) for run, names in shown.items()}
    final = {"final/val/accuracy", "final/test/accuracy"}
    common = {"train/loss", "val/accuracy"}
    assert tags == {FAILED: common, RESUMED: common | final, PLAIN: common | final}


@pytest.mark.parametrize("run", [RESUMED, PLAIN])
def test_a_resumed_run_has_the_curve_of_an_uninterrupted_run(ask, run):
    curve = ask("data/plugin/scalars/scalars", run=run, tag="val/accuracy")
    points = [(step, value) for _, step, value in curve]
    assert points == [(step, pytest.approx(1 / step)) for step in range(1, 8)]


def test_config_and_provenance_are_texts(ask):
    for tags in ask("data/plugin/text/tags").values():
        assert set(tags) == {"config/text_summary", "provenance/text_summary"}
    for run, lr in RUNS.items():
        texts = ask("data/plugin/text/text", run=run, tag="config/text_summary")
        assert f"lr: {lr}" in texts[0]["text"]
        assert "<code" in texts[0]["text"]


def test_plots_and_precision_recall_curves_are_shown(ask):
    plots = ask("data/plugin/images/tags")
    assert {run: list(tags) for run, tags in plots.items()} == {
        RESUMED: ["val/confusion_matrix"],
        PLAIN: ["val/confusion_matrix"],
    }
    curves = ask("data/plugin/pr_curves/tags")
    expected = ["val/pr/accuracy", "val/pr/b c", "val/pr/d"]
    assert {run: sorted(tags) for run, tags in curves.items()} == {
        RESUMED: expected,
        PLAIN: expected,
    }


def test_the_hparams_table_has_a_row_with_final_metrics_for_each_run(ask):
    rows = session_groups(ask)
    assert sorted(rows) == sorted(RUNS)
    for run, lr in RUNS.items():
        row = rows[run]
        expected = {"training.lr": lr, "model.pretrained": True, "model.name": "tiny"}
        assert row["hparams"] == expected
        final = {}
        for value in row["metricValues"]:
            tag = value["name"]["tag"]
            if tag.startswith("final/"):
                final[tag.removeprefix("final/")] = value["value"]
        is_finished = run != FAILED
        assert final == (FINAL if is_finished else {})
        statuses = [session["status"] for session in row["sessions"]]
        assert statuses == ["STATUS_SUCCESS" if is_finished else "STATUS_UNKNOWN"]


def test_the_hparams_table_lists_differing_keys_first(ask):
    experiment = ask("data/plugin/hparams/experiment", {})
    hparams = [info["name"] for info in experiment["hparamInfos"]]
    assert hparams[0] == "training.lr"
    assert set(hparams) == HPARAMS
    metrics = {info["name"]["tag"] for info in experiment["metricInfos"]}
    assert {"final/val/accuracy", "final/test/accuracy"} <= metrics
