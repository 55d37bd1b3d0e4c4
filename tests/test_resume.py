"""A run that was stopped, anywhere and anyhow, ends as the one that never was, to the last bit."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from preloaded import python
from runs import DEBUG, fingerprint, train_in

from ostinato.errors import Interrupted, ResumeRefused
from ostinato.run_dir import RunDir, read_json
from ostinato.training import loop

ROOT = Path(__file__).parents[1]
OPTIONS = (
    "training.epochs=3",
    "training.checkpoint_every=1",
    "training.early_stopping.patience=2",
    "training.accumulate=2",
    "training.eval_every=2",
    "training.warmup_ratio=0.3",
)


class Killed(BaseException):
    """Stands for a kill between two steps: nothing of the run may catch it."""


def train_until_killed(monkeypatch, step, folder, *options):
    whole = loop.Training._step

    def until(self):
        if self.state.step == step:
            raise Killed
        whole(self)

    with monkeypatch.context() as patched:
        patched.setattr(loop.Training, "_step", until)
        with pytest.raises(Killed):
            train_in(folder, *options)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return train_in(tmp_path_factory.mktemp("whole"), *OPTIONS)


def without_times(run):
    kept = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [
        (m["step"], m["name"], m["value"])
        for m in kept
        if not m["name"].endswith("_per_s")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.proof)])
def test_a_kill_after_every_step_leaves_no_trace(
    uninterrupted, tmp_path, monkeypatch, every
):
    whole = fingerprint(uninterrupted)
    steps = len(whole["steps"])
    assert steps >= 6
    for step in range(0, steps, every):
        run = tmp_path / str(step)
        train_until_killed(monkeypatch, step, run, *OPTIONS)
        resumed = train_in(run, *OPTIONS, f"resume.run={run}")
        assert fingerprint(resumed) == whole, f"killed after step {step}"
        assert without_times(resumed) == without_times(uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batching", "precision"),
    [
        ("packed", "bf16"),
        ("bucketed", "fp32"),
        pytest.param("packed", "fp32", marks=pytest.mark.proof),
        pytest.param("bucketed", "bf16", marks=pytest.mark.proof),
    ],
)
def test_several_kills_of_one_run_leave_no_trace(
    tmp_path, monkeypatch, precision, batching
):
    options = [
        "training.checkpoint_every=3",
        f"training.precision={precision}",
        f"training.batching={batching}",
    ]
    whole = fingerprint(train_in(tmp_path / "whole", *options))
    resume = []
    for step in (
        2,
        4,
        7,
    ):  # before the first checkpoint, between two, and after another
        train_until_killed(monkeypatch, step, tmp_path / "run", *options, *resume)
        resume = [f"resume.run={tmp_path / 'run'}"]
    assert fingerprint(train_in(tmp_path / "run", *options, *resume)) == whole


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_signal_writes_a_checkpoint_at_the_next_step_and_says_how_to_go_on(
    tmp_path, monkeypatch, number, exit_code
):
    whole = loop.Training._step

    def signalled(self):
        whole(self)
        if self.state.step == 3:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patched:
        patched.setattr(loop.Training, "_step", signalled)
        with pytest.raises(Interrupted, match=r"step 3 .*resume=") as stopped:
            train_in(tmp_path / "run")
    assert stopped.value.exit_code == exit_code
    run = RunDir(tmp_path / "run")
    assert run.checkpoint(3).is_dir()
    assert read_json(run.results)["status"] == "interrupted"
    resumed = train_in(tmp_path / "run", f"resume.run={run.path}")
    assert fingerprint(resumed) == fingerprint(train_in(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("training.lr=0.5", "training.lr"),
        ("seed=8", "data.train"),
        ("data.limit_train=59", "data.limit_train"),
        ("model.max_length=30", "model.max_length"),
        ("training.threads=2", "threads"),
    ],
)
def test_a_run_that_would_not_go_on_as_it_began_is_refused_and_untouched(
    uninterrupted, tmp_path, change, named
):
    run = tmp_path / "run"
    shutil.copytree(uninterrupted.path, run)
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    import torch

    threads = torch.get_num_threads()
    try:
        with pytest.raises(ResumeRefused, match=named):
            train_in(run, *OPTIONS, change, f"resume.run={run}")
    finally:
        torch.set_num_threads(threads)
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


@pytest.mark.slow
def test_drift_can_be_allowed_and_is_recorded(tmp_path, monkeypatch):
    train_until_killed(monkeypatch, 5, tmp_path, "training.checkpoint_every=2")
    options = ["training.lr=0.5", f"resume.run={tmp_path}", "resume.allow_drift=true"]
    run = train_in(tmp_path, "training.checkpoint_every=2", *options)
    assert read_json(run.provenance)["resumed"][0]["drift"] == [
        "training.lr: 0.01 -> 0.5"
    ]


@pytest.mark.slow
def test_the_command_survives_kill_9_and_sigterm(tmp_path):
    def start(*arguments):
        return subprocess.Popen(
            [python(), str(ROOT / "scripts" / "train.py"), *arguments],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    kept = ("training.checkpoint_every=2", "training.keep_checkpoints=3")
    options = [*DEBUG, "tracker=jsonl", "training.epochs=12", *kept]
    whole = start(*options, "hydra.run.dir=whole")
    run = RunDir(tmp_path / "run")
    for number, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 143)):
        process = (
            start(*options, "hydra.run.dir=run")
            if number == signal.SIGKILL
            else start("resume=run")
        )
        done = (
            len(list(run.checkpoints.glob("step_*")))
            and max(run.checkpoints.glob("step_*")).name
        )
        while process.poll() is None and not any(
            p.name > (done or "") for p in run.checkpoints.glob("step_*")
        ):
            time.sleep(0.01)
        process.send_signal(number)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == code, output
    assert re.search(
        r"stopped by SIGTERM after step \d+ of 48; go on with: .* resume=.*run", output
    )
    last = start("resume=run")
    assert last.wait(120) == 0, last.stdout.read()
    assert whole.wait(120) == 0, whole.stdout.read()
    assert fingerprint(run) == fingerprint(RunDir(tmp_path / "whole"))


@pytest.mark.slow
def test_a_run_that_was_killed_before_its_first_step_begins_again(tmp_path):
    whole = train_in(tmp_path / "whole")
    run = RunDir(tmp_path / "run")
    run.path.mkdir()
    run.config.write_text(whole.config.read_text())
    assert fingerprint(train_in(run.path, "resume.run=auto")) == fingerprint(whole)


@pytest.mark.slow
def test_a_pretrained_model_trains_with_dropout_from_the_first_step_and_after_each_evaluation(
    tmp_path,
):
    pretrained = train_in(tmp_path / "pretrained").best
    options = (
        f"model.name={pretrained}",
        "model.pretrained=true",
        "training.checkpoint_every=3",
    )
    whole = train_in(tmp_path / "whole", *options)
    train_in(
        tmp_path / "run", *options, until_step=6
    )  # the first evaluation is after step 4
    assert fingerprint(
        train_in(tmp_path / "run", *options, f"resume.run={tmp_path / 'run'}")
    ) == fingerprint(whole)
    other = train_in(tmp_path / "other", *options, "training.seeds.dropout=7")
    losses = [
        [step["loss"] for step in fingerprint(run)["steps"]] for run in (whole, other)
    ]
    assert all(mine != theirs for mine, theirs in zip(*losses, strict=True))
