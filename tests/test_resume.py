"""A run that was stopped and resumed is bit-identical to one that was not stopped."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from preloaded import python
from runs import DEBUG, fingerprint, resume, train_in, train_until_killed

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


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return train_in(tmp_path_factory.mktemp("whole"), *OPTIONS)


def logged_without_times(run):
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    logged = [(line["step"], line["name"], line["value"]) for line in lines]
    return [entry for entry in logged if not entry[1].endswith("_per_s")]


@pytest.mark.slow
@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.proof)])
def test_a_kill_after_any_step_does_not_change_the_result(
    uninterrupted, tmp_path, monkeypatch, every
):
    whole = fingerprint(uninterrupted)
    steps = len(whole["steps"])
    assert steps >= 6
    for step in range(0, steps, every):
        run = RunDir(tmp_path / str(step))
        train_until_killed(monkeypatch, step, run.path, *OPTIONS)
        resume(run, *OPTIONS)
        assert fingerprint(run) == whole, f"killed after step {step}"
        assert logged_without_times(run) == logged_without_times(uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batching", "precision"),
    [
        ("packed", "bf16"),
        pytest.param("bucketed", "fp32", marks=pytest.mark.proof),
        pytest.param("packed", "fp32", marks=pytest.mark.proof),
        pytest.param("bucketed", "bf16", marks=pytest.mark.proof),
    ],
)
def test_several_kills_of_one_run_do_not_change_the_result(
    tmp_path, monkeypatch, precision, batching
):
    options = [
        "training.checkpoint_every=3",
        f"training.precision={precision}",
        f"training.batching={batching}",
    ]
    whole = fingerprint(train_in(tmp_path / "whole", *options))
    run = RunDir(tmp_path / "run")
    resuming = f"resume.run={run.path}"

    # Before the first checkpoint, between two checkpoints, and after another one.
    train_until_killed(monkeypatch, 2, run.path, *options)
    train_until_killed(monkeypatch, 4, run.path, *options, resuming)
    train_until_killed(monkeypatch, 7, run.path, *options, resuming)

    assert fingerprint(resume(run, *options)) == whole


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_signal_writes_a_checkpoint_after_the_step_and_names_the_resume_command(
    tmp_path, monkeypatch, number, exit_code
):
    original_step = loop.Training._step

    def step_with_signal(self):
        original_step(self)
        if self.state.step == 3:
            os.kill(os.getpid(), number)

    run = RunDir(tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr(loop.Training, "_step", step_with_signal)
        with pytest.raises(Interrupted, match=r"step 3 .*resume=") as stopped:
            train_in(run.path)

    assert stopped.value.exit_code == exit_code
    assert run.checkpoint(3).is_dir()
    assert read_json(run.results)["status"] == "interrupted"
    resume(run)
    assert fingerprint(run) == fingerprint(train_in(tmp_path / "whole"))


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
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
def test_a_run_that_would_not_continue_as_it_began_is_refused_and_unchanged(
    uninterrupted, tmp_path, change, named
):
    run = RunDir(shutil.copytree(uninterrupted.path, tmp_path / "run"))
    before = contents(run.path)
    threads = torch.get_num_threads()
    try:
        with pytest.raises(ResumeRefused, match=named):
            resume(run, *OPTIONS, change)
    finally:
        torch.set_num_threads(threads)
    assert contents(run.path) == before


@pytest.mark.slow
def test_drift_can_be_allowed_and_is_recorded(tmp_path, monkeypatch):
    option = "training.checkpoint_every=2"
    run = RunDir(tmp_path)
    train_until_killed(monkeypatch, 5, run.path, option)

    resume(run, option, "training.lr=0.5", "resume.allow_drift=true")

    drift = read_json(run.provenance)["resumed"][0]["drift"]
    assert drift == ["training.lr: 0.01 -> 0.5"]


def start_command(folder, *arguments):
    """Starts scripts/train.py in a folder."""
    return subprocess.Popen(
        [python(), str(ROOT / "scripts" / "train.py"), *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def newest_checkpoint(run):
    return max((path.name for path in run.checkpoints.glob("step_*")), default="")


def send_after_next_checkpoint(process, run, number):
    """Sends a signal after the next checkpoint and returns the output."""
    before = newest_checkpoint(run)
    while process.poll() is None and newest_checkpoint(run) <= before:
        time.sleep(0.01)
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    return output


@pytest.mark.slow
def test_the_command_survives_kill_9_and_sigterm(tmp_path):
    kept = ("training.checkpoint_every=2", "training.keep_checkpoints=3")
    whole = train_in(tmp_path / "whole", "training.epochs=12", *kept)
    options = [*DEBUG, "tracker=jsonl", "training.epochs=12", *kept]
    run = RunDir(tmp_path / "run")

    killed = start_command(tmp_path, *options, "hydra.run.dir=run")
    output = send_after_next_checkpoint(killed, run, signal.SIGKILL)
    assert killed.returncode == -9, output

    stopped = start_command(tmp_path, "resume=run")
    output = send_after_next_checkpoint(stopped, run, signal.SIGTERM)
    assert stopped.returncode == 143, output
    hint = r"stopped by SIGTERM after step \d+ of 48; resume with: .* resume=.*run"
    assert re.search(hint, output)

    last = start_command(tmp_path, "resume=run")
    assert last.wait(120) == 0, last.stdout.read()
    assert fingerprint(run) == fingerprint(whole)


@pytest.mark.slow
def test_a_run_that_was_killed_before_its_first_step_starts_again(tmp_path):
    whole = train_in(tmp_path / "whole")
    run = RunDir(tmp_path / "run")
    run.path.mkdir()
    run.config.write_text(whole.config.read_text())

    train_in(run.path, "resume.run=auto")

    assert fingerprint(run) == fingerprint(whole)


def losses(run):
    return [step["loss"] for step in fingerprint(run)["steps"]]


@pytest.mark.slow
def test_a_pretrained_model_has_dropout_from_the_first_step_and_after_evaluations(
    tmp_path,
):
    pretrained = train_in(tmp_path / "pretrained").best
    options = (
        f"model.name={pretrained}",
        "model.pretrained=true",
        "training.checkpoint_every=3",
    )
    whole = train_in(tmp_path / "whole", *options)

    # The first evaluation is after step 4.
    run = train_in(tmp_path / "run", *options, until_step=6)
    resume(run, *options)
    assert fingerprint(run) == fingerprint(whole)

    other = train_in(tmp_path / "other", *options, "training.seeds.dropout=7")
    pairs = zip(losses(whole), losses(other), strict=True)
    assert all(mine != theirs for mine, theirs in pairs)
