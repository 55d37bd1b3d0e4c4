"""Prediction and evaluation in three processes give the bytes of one."""

import multiprocessing
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from files import write
from prediction import predict_with
from preloaded import python
from runs import train_in

from ostinato.cli.command import load_run
from ostinato.config import EvaluateConfig, PredictConfig
from ostinato.errors import ProcessFailed
from ostinato.inference.stream import predict
from ostinato.model.device import available_cores
from ostinato.run.evaluate import evaluate

pytestmark = pytest.mark.slow

WORDS = [
    "the",
    "soup",
    "simmers",
    "while",
    "a",
    "striker",
    "scores",
    "twice",
    "in",
    "heavy",
    "rain",
]
ROWS = [
    {
        "id": number,
        "text": " ".join(WORDS[number % 7 : number % 7 + number % 5]),
        "pair": " ".join(WORDS[number % 3 :]),
    }
    for number in range(200)
]


@pytest.fixture(scope="module")
def pair_run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of regression on pairs of texts."""
    folder = tmp_path_factory.mktemp("pair_run")
    options = ("data.task=regression", "data.text_pair_column=pair")
    return str(train_in(folder, *options, "training.epochs=1").path)


@pytest.mark.parametrize(
    ("source", "output", "options"),
    [
        ("in.csv", "out.jsonl", {"keep": "all"}),
        pytest.param(
            *("in.parquet", "out.csv", {"calibrated": True}), marks=pytest.mark.proof
        ),
    ],
)
def test_the_output_is_that_of_one_process(
    run_folder: str, here: Path, source: str, output: str, options: dict[str, Any]
) -> None:
    write(here, source, ROWS)
    options |= {"input": source, "output": output, "batch_size": 2}
    assert predict_with(run_folder, **options) == len(ROWS)
    expected = (here / output).read_bytes()
    (here / output).unlink()
    assert predict_with(run_folder, processes=3, **options) == len(ROWS)
    assert (here / output).read_bytes() == expected


def test_the_values_of_pairs_are_those_of_one_process(
    pair_run: str, here: Path
) -> None:
    write(here, "in.jsonl", ROWS)
    outputs = []
    for processes in (1, 3):
        cfg = PredictConfig(
            run=pair_run,
            input="in.jsonl",
            output="out.csv",
            batch_size=2,
            processes=processes,
        )
        assert predict(cfg, "text", "pair") == len(ROWS)
        outputs.append((here / "out.csv").read_bytes())
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(
    "run_of", ["run_folder", pytest.param("pair_run", marks=pytest.mark.proof)]
)
def test_the_metrics_are_those_of_one_process(
    request: pytest.FixtureRequest, run_of: str
) -> None:
    folder = request.getfixturevalue(run_of)
    run, config = load_run(folder)
    metrics = []
    for processes in (1, 3):
        cfg = EvaluateConfig(run=folder, batch_size=3, processes=processes)
        metrics.append(evaluate(cfg, run, config))
    assert metrics[0] == metrics[1]
    assert metrics[0]["num_rows"] == 30


@pytest.mark.skipif(available_cores() < 2, reason="needs two cores")
def test_evaluation_takes_the_threads_that_the_run_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    try:
        with monkeypatch.context() as other:
            other.setattr("ostinato.model.device._DEFAULT_THREADS", 2)
            folder = train_in(tmp_path / "run", "training.threads=null").path
        evaluate(EvaluateConfig(run=str(folder)), *load_run(str(folder)))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_killed_process_changes_no_output(
    run_folder: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "out.jsonl").write_text("mine")
    before = sorted(here.iterdir())
    reader, writer = os.pipe()

    def feed() -> None:
        """Feeds standard input without an end, and kills a process meanwhile."""
        with os.fdopen(writer, "wb", buffering=0) as stream:
            for number in range(10_000_000):
                try:
                    stream.write(b"the soup simmers\n" * 100)
                except BrokenPipeError:
                    return
                if number == 60:  # more than the pipe holds: all have started
                    os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    feeder = threading.Thread(target=feed)
    with os.fdopen(reader) as stdin, monkeypatch.context() as patch:
        patch.setattr("sys.stdin", stdin)
        feeder.start()
        with pytest.raises(ProcessFailed, match=r"process \d of 3: killed by SIGKILL"):
            predict_with(run_folder, input="-", processes=3, batch_size=8)
    feeder.join()
    assert (here / "out.jsonl").read_text() == "mine"
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGINT, marks=pytest.mark.proof),
        pytest.param(signal.SIGPIPE, marks=pytest.mark.proof),
    ],
)
def test_no_process_outlives_the_command(
    run_folder: str, here: Path, number: signal.Signals
) -> None:
    script = Path(__file__).parents[2] / "scripts" / "predict.py"
    command = [python(), str(script), f"run={run_folder}", "processes=2"]
    with subprocess.Popen(
        [*command, "batch_size=1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"the soup simmers\n" * 1_000)
        process.stdin.flush()
        assert process.stdout.readline()
        if number == signal.SIGPIPE:  # as `| head` does
            process.stdout.close()
            process.stdin.close()
        else:
            process.send_signal(number)
            process.stdout.read()
        # The stream ends when no process can write to it.
        errors = process.stderr.read().decode()
        assert process.wait() != 0
    assert number == signal.SIGINT or "Traceback" not in errors
