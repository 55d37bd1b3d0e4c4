"""A resumed run keeps what an earlier session left until its first step, and goes on with its own history alone."""

import math
import shutil

import pytest
from runs import configure, fingerprint, train_in
from test_resume import train_until_killed

from ostinato.errors import ResumeRefused
from ostinato.record.digests import digest_file
from ostinato.record.results import finished_metric
from ostinato.run.train import train
from ostinato.run_dir import RunDir, read_json, write_record
from ostinato.sweep import search
from ostinato.sweep.jobs import record_failure
from ostinato.training import loop

OPTIONS = ("training.checkpoint_every=2",)
LONGER = (*OPTIONS, "training.epochs=3", "resume.allow_drift=true")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train_in(tmp_path_factory.mktemp("edges") / "run", *OPTIONS)


@pytest.fixture
def run(finished, tmp_path):
    return RunDir(shutil.copytree(finished.path, tmp_path / "run"))


def files(run):
    kept = (run.best, run.checkpoints, run.kept_best)
    return {
        path: digest_file(path)
        for folder in kept
        for path in folder.rglob("*")
        if path.is_file()
    }


def out_of_memory(self):
    raise MemoryError("the first step")


def test_a_first_step_that_fails_leaves_best_weights_and_checkpoints(run, monkeypatch):
    before = files(run)
    monkeypatch.setattr(loop.Training, "_step", out_of_memory)
    with pytest.raises(MemoryError):
        train_in(run.path, *LONGER, "model.max_length=16", f"resume.run={run.path}")
    assert files(run) == before
    assert finished_metric(run) is not None


def test_damaged_step_lines_delete_nothing_before_the_first_step(tmp_path, monkeypatch):
    train_until_killed(monkeypatch, 5, tmp_path, *OPTIONS)
    run = RunDir(tmp_path)
    run.steps.write_bytes(
        run.steps.read_bytes().replace(b'"step": 1,', b'"step": 9,', 1)
    )
    before = files(run)
    assert before
    monkeypatch.setattr(loop.Training, "_step", out_of_memory)
    with pytest.raises(MemoryError):
        train_in(run.path, *OPTIONS, f"resume.run={run.path}")
    assert files(run) == before


def test_a_config_that_ends_before_the_checkpoint_is_refused(run):
    with pytest.raises(
        ResumeRefused,
        match=r"its checkpoint is of step \d+, this config has \d+; type the training",
    ):
        train_in(
            run.path,
            *OPTIONS,
            "training.epochs=0.5",
            "resume.allow_drift=true",
            f"resume.run={run.path}",
        )


def test_another_monitor_is_refused_even_if_drift_is_allowed(run):
    with pytest.raises(
        ResumeRefused, match=r"chosen by training\.monitor=accuracy, not loss"
    ):
        train_in(run.path, *LONGER, "training.monitor=loss", f"resume.run={run.path}")


def test_moments_stay_with_their_parameters_when_groups_change(tmp_path, monkeypatch):
    """A rate by layer numbers the parameters of the optimizer in another order."""
    train_until_killed(monkeypatch, 4, tmp_path, *OPTIONS)
    moments = {}
    step = loop.Training._step

    def spied(self):
        if not moments:
            names = {id(p): name for name, p in self.prepared.model.named_parameters()}
            moments.update(
                {
                    names[id(p)]: entries["exp_avg"].clone()
                    for p, entries in self.optimizer.state.items()
                }
            )
        step(self)

    monkeypatch.setattr(loop.Training, "_step", spied)
    plain = RunDir(shutil.copytree(tmp_path, tmp_path.with_name("plain")))
    train_in(plain.path, *OPTIONS, f"resume.run={plain.path}")
    expected = dict(moments)
    moments.clear()
    drift = ("training.layer_lr_decay=0.5", "resume.allow_drift=true")
    train_in(tmp_path, *OPTIONS, *drift, f"resume.run={tmp_path}")
    assert moments.keys() == expected.keys()
    assert all(moments[name].equal(tensor) for name, tensor in expected.items())


def test_a_run_that_is_killed_while_it_begins_again_is_not_finished_already(
    run, monkeypatch
):
    monkeypatch.setattr("ostinato.run.train.write_config", out_of_memory_of)
    with pytest.raises(MemoryError):
        train_in(run.path, *LONGER, f"resume.run={run.path}")
    assert finished_metric(run) is None
    monkeypatch.undo()
    again = train_in(run.path, *LONGER, f"resume.run={run.path}")
    assert read_json(again.results)["steps"] == 3 * read_json(run.results)["steps"] // 3


def out_of_memory_of(*_):
    raise MemoryError("the config")


def test_what_a_killed_process_left_of_best_weights_is_removed(tmp_path, monkeypatch):
    train_until_killed(monkeypatch, 4, tmp_path, *OPTIONS)
    run = RunDir(tmp_path)
    left = run.kept_best / ".0000.safetensors.999999.tmp"
    left.write_bytes(b"half")
    train_in(tmp_path, *OPTIONS, f"resume.run={tmp_path}")
    assert not left.exists()


def test_a_killed_job_keeps_what_it_has_logged(tmp_path):
    run = RunDir(tmp_path)
    write_record(
        run.results,
        {"name": "x", "status": "unfinished", "metrics": {"train/loss": [{"step": 1}]}},
    )
    record_failure(run, RuntimeError("killed by SIGKILL"))
    results = read_json(run.results)
    assert (results["status"], results["metrics"]) == (
        "failed",
        {"train/loss": [{"step": 1}]},
    )


def test_a_trial_whose_metric_is_not_defined_has_failed(tmp_path):
    config, resolved = configure()
    values = iter([0.9, math.nan])
    job = lambda *_: next(values)  # noqa: E731
    assert search.run_trial(job, config, RunDir(tmp_path), resolved) == 0.9
    assert search.run_trial(job, config, RunDir(tmp_path), resolved) is None


def test_the_same_training_goes_on_to_the_same_end(run, finished):
    config, resolved = configure("tracker=jsonl", *OPTIONS, f"resume.run={run.path}")
    assert train(config, run, resolved) == finished_metric(finished)
    assert fingerprint(run) == fingerprint(finished)
