"""A resumed run keeps the files of an earlier session until its first step.

Then it continues with its own history alone.
"""

import math
import shutil

import pytest
from runs import configure, fingerprint, resume, train_in, train_until_killed

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


def digests(run):
    """The digest of each file of the run folder, except the lock."""
    files = filter(lambda path: path.is_file(), run.path.rglob("*"))
    return {path: digest_file(path) for path in files if path != run.lock}


def out_of_memory(*arguments):
    raise MemoryError("no memory")


@pytest.mark.slow
def test_a_first_step_that_fails_keeps_best_weights_and_checkpoints(run, monkeypatch):
    before = digests(run)
    monkeypatch.setattr(loop.Training, "_step", out_of_memory)

    with pytest.raises(MemoryError):
        resume(run, *LONGER, "model.max_length=16")

    assert digests(run) == before
    assert finished_metric(run) is not None


@pytest.mark.slow
def test_damaged_step_lines_delete_nothing_before_the_first_step(tmp_path, monkeypatch):
    run = RunDir(tmp_path)
    train_until_killed(monkeypatch, 5, run.path, *OPTIONS)
    lines = run.steps.read_bytes()
    run.steps.write_bytes(lines.replace(b'"step": 1,', b'"step": 9,', 1))
    before = digests(run)
    assert before
    monkeypatch.setattr(loop.Training, "_step", out_of_memory)

    with pytest.raises(MemoryError):
        resume(run, *OPTIONS)

    assert digests(run) == before


@pytest.mark.slow
def test_a_config_that_ends_before_the_checkpoint_is_refused(run):
    message = r"its checkpoint is of step \d+, this config has \d+; type the training"
    with pytest.raises(ResumeRefused, match=message):
        resume(run, *OPTIONS, "training.epochs=0.5", "resume.allow_drift=true")


def test_another_monitor_is_refused_even_if_drift_is_allowed(run):
    message = r"chosen by training\.monitor=accuracy, not loss"
    with pytest.raises(ResumeRefused, match=message):
        resume(run, *LONGER, "training.monitor=loss")


def first_moments(training):
    """The first moment of each parameter, by its name."""
    moments = {}
    for name, parameter in training.prepared.model.named_parameters():
        entries = training.learner.optimizer.state.get(parameter, {})
        if entries:
            moments[name] = entries["exp_avg"].clone()
    return moments


@pytest.mark.slow
def test_moments_stay_with_their_parameters_if_groups_change(tmp_path, monkeypatch):
    """A rate by layer gives other numbers to the parameters of the optimizer."""
    train_until_killed(monkeypatch, 4, tmp_path, *OPTIONS)
    plain = RunDir(shutil.copytree(tmp_path, tmp_path.with_name("plain")))
    original_step = loop.Training._step
    moments = {}

    def step_and_copy_moments(self):
        if not moments:
            moments.update(first_moments(self))
        original_step(self)

    monkeypatch.setattr(loop.Training, "_step", step_and_copy_moments)
    resume(plain, *OPTIONS)
    expected = dict(moments)
    moments.clear()
    drift = ("training.layer_lr_decay=0.5", "resume.allow_drift=true")
    resume(RunDir(tmp_path), *OPTIONS, *drift)

    assert expected
    assert moments.keys() == expected.keys()
    assert all(moments[name].equal(tensor) for name, tensor in expected.items())


@pytest.mark.slow
def test_a_run_that_is_killed_while_it_replaces_its_records_is_not_finished(
    run, monkeypatch
):
    steps = read_json(run.results)["steps"]
    monkeypatch.setattr("ostinato.run.resumption.write_config", out_of_memory)
    with pytest.raises(MemoryError):
        resume(run, *LONGER)
    assert finished_metric(run) is None
    monkeypatch.undo()

    resume(run, *LONGER)

    assert read_json(run.results)["steps"] == steps * 3 // 2


@pytest.mark.slow
def test_temporary_files_of_a_killed_process_are_removed(tmp_path, monkeypatch):
    run = RunDir(tmp_path)
    train_until_killed(monkeypatch, 4, run.path, *OPTIONS)
    temporary = run.kept_best / ".0000.safetensors.999999.tmp"
    temporary.write_bytes(b"half")

    resume(run, *OPTIONS)

    assert not temporary.exists()


def test_a_killed_job_keeps_what_it_has_logged(tmp_path):
    run = RunDir(tmp_path)
    logged = {"train/loss": [{"step": 1}]}
    record = {"name": "x", "status": "unfinished", "metrics": logged}
    write_record(run.results, record)

    record_failure(run, RuntimeError("killed by SIGKILL"))

    results = read_json(run.results)
    assert results["status"] == "failed"
    assert results["metrics"] == logged


def test_a_trial_whose_metric_is_not_defined_has_failed(tmp_path):
    config, resolved = configure()
    values = iter([0.9, math.nan])

    def job(*arguments):
        return next(values)

    assert search.run_trial(job, config, RunDir(tmp_path), resolved) == 0.9
    assert search.run_trial(job, config, RunDir(tmp_path), resolved) is None


def test_resuming_a_finished_run_returns_its_metric(run, finished):
    config, resolved = configure("tracker=jsonl", *OPTIONS, f"resume.run={run.path}")

    assert train(config, run, resolved) == finished_metric(finished)
    assert fingerprint(run) == fingerprint(finished)


@pytest.mark.slow
def test_a_number_of_steps_is_the_whole_schedule_and_resumes(tmp_path, monkeypatch):
    options = (*OPTIONS, "training.schedule=linear")
    by_epochs = train_in(tmp_path / "epochs", *options, "training.epochs=2")
    steps = read_json(by_epochs.results)["steps"]
    by_steps = ("training.epochs=9", f"training.max_steps={steps}")
    run = RunDir(tmp_path / "steps")
    train_until_killed(monkeypatch, 5, run.path, *options, *by_steps)
    resume(run, *options, *by_steps)
    assert fingerprint(run) == fingerprint(by_epochs)


@pytest.mark.slow
def test_a_config_that_ends_where_nothing_was_evaluated_is_refused(
    tmp_path, monkeypatch
):
    run = RunDir(tmp_path)
    every = ("training.checkpoint_every=1", "training.eval_every=4")
    train_until_killed(monkeypatch, 3, run.path, *every)
    shorter = (*every, "training.max_steps=3", "resume.allow_drift=true")
    with pytest.raises(ResumeRefused, match="of step 3, which was not evaluated"):
        resume(run, *shorter)
