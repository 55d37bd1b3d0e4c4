"""Numbers that are not finite are never saved; a step that fp16's loss scale skips is recorded and repeats."""

import json

import pytest
import torch
from files import write_csv
from runs import fingerprint, train_in
from test_resume import train_until_killed

from ostinato.errors import TrainingDiverged
from ostinato.record.difference import first_difference
from ostinato.run_dir import RunDir, read_json
from ostinato.training import loop


def test_an_infinite_gradient_norm_with_a_finite_loss_stops_before_anything_is_saved(
    tmp_path,
):
    rows = [
        {"text": f"word {number}", "label": 3e18 + number * 1e16}
        for number in range(60)
    ]
    write_csv(tmp_path / "rows.csv", rows)
    options = [
        "data.source=files",
        f"data.train_path={tmp_path}/rows.csv",
        "data.task=regression",
    ]
    with pytest.raises(
        TrainingDiverged,
        match=r"the gradient norm is inf at step \d+ with learning rate",
    ) as stopped:
        train_in(tmp_path / "run", *options, "training.checkpoint_every=1")
    run = RunDir(tmp_path / "run")
    assert read_json(run.results)["status"] == "failed"
    last = int(str(stopped.value).split("at step ")[1].split()[0]) - 1
    assert [path.name for path in run.checkpoints.iterdir()] == [f"step_{last:08d}"]


@pytest.mark.parametrize("evaluate_every", [1, 4])
def test_an_update_to_infinite_weights_is_found_before_they_are_saved(
    tmp_path, evaluate_every
):
    options = [
        "training.lr=1e39",
        "training.checkpoint_every=1",
        f"training.eval_every={evaluate_every}",
    ]
    with pytest.raises(
        TrainingDiverged,
        match="a weight or an optimizer moment is NaN or infinite after the update",
    ):
        train_in(
            tmp_path, *options, "training.max_grad_norm=null", "training.warmup_ratio=0"
        )
    assert not RunDir(tmp_path).checkpoints.exists()
    assert not RunDir(tmp_path).best.exists()


@pytest.fixture
def overflowing(monkeypatch):
    """The loss scale of fp16, on the CPU and in fp32, so large that the first steps really overflow."""
    make = lambda _: torch.amp.GradScaler("cpu", init_scale=3.4e38, growth_interval=2)  # noqa: E731
    monkeypatch.setattr(loop, "gradient_scaler", make)


@pytest.fixture
def large_losses(tmp_path):
    """Options of a regression with losses above 1: at the largest scale they overflow."""
    write_csv(
        tmp_path / "rows.csv",
        [{"text": f"word {number}", "label": 2 + number / 100} for number in range(60)],
    )
    return (
        "data.source=files",
        f"data.train_path={tmp_path}/rows.csv",
        "data.task=regression",
        *OPTIONS,
    )


OPTIONS = (
    "training.checkpoint_every=2",
    "training.eval_every=4",
    "training.log_every=1",
)


@pytest.mark.slow
def test_a_skipped_step_is_recorded_and_the_run_finishes_and_resumes(
    tmp_path, monkeypatch, overflowing, large_losses
):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    whole = train_in(tmp_path / "whole", *large_losses)
    assert read_json(whole.results)["status"] == "finished"
    for path in (whole.fingerprint, whole.results, whole.checkpoint(8) / "state.json"):
        json.loads(path.read_text(), parse_constant=refuse)
    lines = [
        json.loads(line, parse_constant=refuse)
        for line in whole.steps.read_text().splitlines()
    ]
    skipped = [line["step"] for line in lines if line["grad_norm"] is None]
    assert skipped
    assert skipped[0] == 1
    assert len(skipped) < 8
    train_until_killed(monkeypatch, 5, tmp_path / "run", *large_losses)
    resumed = train_in(
        tmp_path / "run", *large_losses, f"resume.run={tmp_path / 'run'}"
    )
    assert fingerprint(resumed) == fingerprint(whole)
    assert first_difference(fingerprint(resumed), fingerprint(whole)) is None


def test_a_run_whose_every_step_was_skipped_has_not_finished(
    tmp_path, monkeypatch, large_losses
):
    def make(_):
        return torch.amp.GradScaler("cpu", init_scale=3.4e38, backoff_factor=0.9999)

    monkeypatch.setattr(loop, "gradient_scaler", make)
    with pytest.raises(TrainingDiverged, match="overflowed at every step"):
        train_in(tmp_path, *large_losses)
    assert read_json(RunDir(tmp_path).results)["status"] == "failed"


def test_a_loss_scale_below_one_stops_the_run(tmp_path, monkeypatch):
    make = lambda _: torch.amp.GradScaler("cpu", init_scale=0.5)  # noqa: E731
    monkeypatch.setattr(loop, "gradient_scaler", make)
    with pytest.raises(TrainingDiverged, match=r"loss scale fell to 0\.5 at step"):
        train_in(tmp_path, *OPTIONS)
