"""NaN and infinite numbers are never saved.

A step that fp16's loss scale skips is recorded, and resumes bit for bit.
"""

import json

import pytest
import torch
from files import write_csv
from runs import fingerprint, resume, train_in, train_until_killed

from ostinato.errors import TrainingDiverged
from ostinato.record.difference import first_difference
from ostinato.run_dir import RunDir, read_json
from ostinato.training import optimization

OPTIONS = (
    "training.checkpoint_every=2",
    "training.eval_every=4",
    "training.log_every=1",
)


def regression_options(folder, labels):
    """Options of a regression on rows with these labels."""
    rows = []
    for number, label in enumerate(labels):
        rows.append({"text": f"word {number}", "label": label})
    write_csv(folder / "rows.csv", rows)
    path = f"data.train_path={folder}/rows.csv"
    return ("data.source=files", path, "data.task=regression")


@pytest.mark.slow
def test_an_infinite_gradient_norm_with_a_finite_loss_stops_before_anything_is_saved(
    tmp_path,
):
    labels = [3e18 + number * 1e16 for number in range(60)]
    options = regression_options(tmp_path, labels)
    run = RunDir(tmp_path / "run")
    message = r"the gradient norm is inf at step \d+ with learning rate"

    with pytest.raises(TrainingDiverged, match=message) as stopped:
        train_in(run.path, *options, "training.checkpoint_every=1")

    assert read_json(run.results)["status"] == "failed"
    last = int(str(stopped.value).split("at step ")[1].split()[0]) - 1
    assert [path.name for path in run.checkpoints.iterdir()] == [f"step_{last:08d}"]


@pytest.mark.slow
@pytest.mark.usefixtures("preloaded_fork_server")
def test_an_infinite_loss_in_one_of_several_processes_stops_all(tmp_path):
    labels = [number / 60 for number in range(60)]
    labels[30] = 1e30  # its squared error is infinite, in one micro-batch
    options = (*regression_options(tmp_path, labels), "training.accumulate=3")
    messages = []

    for processes in (1, 3):
        run = RunDir(tmp_path / f"run_{processes}")
        with pytest.raises(TrainingDiverged, match="the loss is inf") as stopped:
            train_in(run.path, *options, f"training.processes={processes}")
        messages.append(str(stopped.value))
        assert read_json(run.results)["status"] == "failed"

    assert messages[0] == messages[1]


@pytest.mark.slow
@pytest.mark.parametrize("evaluate_every", [1, 4])
def test_an_update_to_infinite_weights_is_found_before_they_are_saved(
    tmp_path, evaluate_every
):
    options = [
        "training.lr=1e39",
        "training.checkpoint_every=1",
        f"training.eval_every={evaluate_every}",
        "training.max_grad_norm=null",
        "training.warmup_ratio=0",
    ]
    message = "a weight or an optimizer moment is NaN or infinite after the update"

    with pytest.raises(TrainingDiverged, match=message):
        train_in(tmp_path, *options)

    assert not RunDir(tmp_path).checkpoints.exists()
    assert not RunDir(tmp_path).best.exists()


def use_scaler(monkeypatch, **settings):
    """Gives trainings on the CPU in fp32 a loss scale, as fp16 has one."""

    def gradient_scaler(compute):
        return torch.amp.GradScaler("cpu", **settings)

    monkeypatch.setattr(optimization, "gradient_scaler", gradient_scaler)


@pytest.fixture
def large_losses(tmp_path):
    """Options of a regression with losses above 1: the largest scale overflows."""
    labels = [2 + number / 100 for number in range(60)]
    return (*regression_options(tmp_path, labels), *OPTIONS)


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


@pytest.mark.slow
def test_a_skipped_step_is_recorded_and_the_run_finishes_and_resumes(
    tmp_path, monkeypatch, large_losses
):
    use_scaler(monkeypatch, init_scale=3.4e38, growth_interval=2)

    whole = train_in(tmp_path / "whole", *large_losses)

    assert read_json(whole.results)["status"] == "finished"
    for path in (whole.fingerprint, whole.results, whole.checkpoint(8) / "state.json"):
        json.loads(path.read_text(), parse_constant=refuse)
    lines = whole.steps.read_text().splitlines()
    steps = [json.loads(line, parse_constant=refuse) for line in lines]
    skipped = [step["step"] for step in steps if step["grad_norm"] is None]
    assert skipped
    assert skipped[0] == 1
    assert len(skipped) < 8

    run = RunDir(tmp_path / "run")
    train_until_killed(monkeypatch, 5, run.path, *large_losses)
    resume(run, *large_losses)
    assert fingerprint(run) == fingerprint(whole)
    assert first_difference(fingerprint(run), fingerprint(whole)) is None


@pytest.mark.slow
def test_a_run_that_skipped_every_step_has_not_finished(
    tmp_path, monkeypatch, large_losses
):
    use_scaler(monkeypatch, init_scale=3.4e38, backoff_factor=0.9999)

    with pytest.raises(TrainingDiverged, match="overflowed at every step"):
        train_in(tmp_path, *large_losses)

    assert read_json(RunDir(tmp_path).results)["status"] == "failed"


def test_a_loss_scale_below_one_stops_the_run(tmp_path, monkeypatch):
    use_scaler(monkeypatch, init_scale=0.5)

    with pytest.raises(TrainingDiverged, match=r"loss scale fell to 0\.5 at step"):
        train_in(tmp_path, *OPTIONS)
