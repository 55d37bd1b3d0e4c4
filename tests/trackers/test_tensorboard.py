"""The real TensorBoard server shows one run per folder, with everything that a run tells."""

import json
import re
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato.config import TensorboardConfig, TrackerConfig
from ostinato.run_dir import RunDir
from ostinato.scoring.plots import confusion_matrix
from ostinato.trackers import build

NAMES = [
    "accuracy",
    "b c",
    "d",
]  # a class called like a metric must not get into its way
RUNS = {"2026-11-22/a_failed": 1e-2, "2026-11-22/b": 1e-3, "multirun/x/0_c": 1e-4}
Ask = Callable[..., Any]


def write(folder: Path, lr: float, status: str, steps, step: int = 0) -> None:
    rng = np.random.default_rng(0)
    trackers = build(
        TrackerConfig(tensorboard=TensorboardConfig()), RunDir(folder), step
    )
    trackers.start(
        {
            "training": {"lr": lr, "betas": [0.9, 0.99]},
            "model": {"pretrained": True, "name": "tiny"},
        },
        {"a": 1},
    )
    for now in steps:
        trackers.log(now, {"train/loss": lr / now, "val/accuracy": 1 / now})
    if status == "finished":
        labels, scores = rng.integers(0, 3, 30), rng.random((30, 3))
        trackers.plot(
            1,
            "val/confusion_matrix",
            confusion_matrix(np.eye(3, dtype=np.int64), NAMES),
        )
        trackers.pr_curves(1, "val", scores, labels, NAMES)
    trackers.finish(
        status,
        {"val/accuracy": 1.0, "test/accuracy": 0.75} if status == "finished" else {},
    )


@pytest.fixture(scope="module")
def ask(tmp_path_factory) -> Iterator[Ask]:
    """Asks a server over three runs: one failed; one resumed from step 3 after it had reached 5; one plain."""
    logdir = tmp_path_factory.mktemp("outputs")
    failed, resumed, plain = RUNS
    write(logdir / failed, RUNS[failed], "failed", [1, 2])
    write(logdir / resumed, RUNS[resumed], "interrupted", range(1, 6))
    time.sleep(1.1)  # event files of one run are named by the second
    write(logdir / resumed, RUNS[resumed], "finished", range(4, 8), step=3)
    write(logdir / plain, RUNS[plain], "finished", range(1, 8))

    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        logdir,
        "--host",
        "127.0.0.1",
        "--port",
        "0",
    ]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as server:
        try:
            url = next(
                m[1]
                for m in map(re.compile(r" at (http://\S+)").search, server.stderr)
                if m
            )

            def ask(path: str, post: Any = None, **query: str) -> Any:
                data = None if post is None else json.dumps(post).encode()
                request = urllib.request.Request(
                    f"{url}{path}?{urllib.parse.urlencode(query)}", data
                )
                request.add_header("Content-Type", "application/json")
                with urllib.request.urlopen(request, timeout=20) as reply:
                    return json.load(reply)

            deadline = time.monotonic() + 30  # it reads the files in the background
            while (
                len(session_groups(ask)) < len(RUNS)
                or len(ask("data/plugin/pr_curves/tags")) < 2
            ):
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield ask
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(20)


def session_groups(ask: Ask) -> dict[str, Any]:
    wanted = {
        "allowedStatuses": [
            f"STATUS_{s}" for s in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")
        ]
    }
    reply = ask(
        "data/plugin/hparams/session_groups",
        {**wanted, "startIndex": 0, "sliceSize": 9},
    )
    return {group["name"]: group for group in reply.get("sessionGroups", [])}


@pytest.mark.slow
def test_each_folder_is_exactly_one_run(ask):
    assert sorted(ask("data/runs")) == sorted(RUNS)


def test_scalars_are_there(ask):
    tags = {run: set(there) for run, there in ask("data/plugin/scalars/tags").items()}
    final = {"final/val/accuracy", "final/test/accuracy"}
    common = {"train/loss", "val/accuracy"}
    failed, resumed, plain = RUNS
    assert tags == {failed: common, resumed: common | final, plain: common | final}


def test_a_resumed_run_has_the_curve_of_one_that_never_stopped(ask):
    _, resumed, plain = RUNS
    curves = [
        ask("data/plugin/scalars/scalars", run=run, tag="val/accuracy")
        for run in (resumed, plain)
    ]
    assert [[(step, value) for _, step, value in curve] for curve in curves] == [
        [(step, pytest.approx(1 / step)) for step in range(1, 8)]
    ] * 2


def test_config_and_provenance_can_be_read_as_text(ask):
    assert all(
        set(tags) == {"config/text_summary", "provenance/text_summary"}
        for tags in ask("data/plugin/text/tags").values()
    )
    for run, lr in RUNS.items():
        text = ask("data/plugin/text/text", run=run, tag="config/text_summary")[0][
            "text"
        ]
        assert f"lr: {lr}" in text
        assert "<code" in text


def test_pictures_and_precision_recall_curves_are_there(ask):
    finished = list(RUNS)[1:]
    pictures, curves = (
        ask(f"data/plugin/{plugin}/tags") for plugin in ("images", "pr_curves")
    )
    assert {run: list(tags) for run, tags in pictures.items()} == {
        run: ["val/confusion_matrix"] for run in finished
    }
    expected = ["val/pr/accuracy", "val/pr/b c", "val/pr/d"]
    assert {run: sorted(tags) for run, tags in curves.items()} == dict.fromkeys(
        finished, expected
    )


def test_the_hparams_table_has_a_row_for_each_run_with_its_final_metrics(ask):
    rows = session_groups(ask)
    assert sorted(rows) == sorted(RUNS)
    for run, lr in RUNS.items():
        assert rows[run]["hparams"] == {
            "training.lr": lr,
            "model.pretrained": True,
            "model.name": "tiny",
        }
        metrics = {
            value["name"]["tag"]: value["value"] for value in rows[run]["metricValues"]
        }
        final = {
            name: value for name, value in metrics.items() if name.startswith("final/")
        }
        finished = run != "2026-11-22/a_failed"
        assert final == (
            {"final/val/accuracy": 1.0, "final/test/accuracy": 0.75} if finished else {}
        )
        assert [session["status"] for session in rows[run]["sessions"]] == [
            "STATUS_SUCCESS" if finished else "STATUS_UNKNOWN"
        ]


def test_the_hparams_table_offers_the_keys_that_differ_first_whichever_run_failed(ask):
    experiment = ask("data/plugin/hparams/experiment", {})
    assert experiment["hparamInfos"][0]["name"] == "training.lr"
    assert {info["name"] for info in experiment["hparamInfos"]} == {
        "training.lr",
        "model.pretrained",
        "model.name",
    }
    assert {"final/val/accuracy", "final/test/accuracy"} <= {
        info["name"]["tag"] for info in experiment["metricInfos"]
    }
