"""Files of a run that something else changes while it trains are never reported."""

import shutil

import pytest
from runs import fingerprint, resume, train_in

from ostinato.errors import CheckpointError
from ostinato.run_dir import RunDir, read_json
from ostinato.training.loop import Training

pytestmark = pytest.mark.slow

ONE_EPOCH = "training.epochs=1"


def other_weight(run):
    """Changes the last weight; the file can still be loaded."""
    content = bytearray(run.best_weights.read_bytes())
    content[-1] ^= 1
    run.best_weights.write_bytes(content)


def other_tokenizer(run):
    file = run.best / "tokenizer.json"
    file.write_text(file.read_text() + " ")


def no_best_weights(run):
    shutil.rmtree(run.best)


def step_lines(run):
    return run.steps.read_bytes().splitlines(keepends=True)


def missing_step(run):
    first, _, *others = step_lines(run)
    run.steps.write_bytes(b"".join([first, *others]))


def other_loss(run):
    *others, last = step_lines(run)
    changed = last.replace(b'"loss": ', b'"loss": 1')
    run.steps.write_bytes(b"".join([*others, changed]))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (other_weight, "best"),
        (other_tokenizer, "best"),
        (no_best_weights, "best"),
        (missing_step, r"steps\.jsonl"),
        (other_loss, r"steps\.jsonl"),
    ],
)
def test_a_file_that_changed_before_the_final_scoring_is_not_reported(
    tmp_path, monkeypatch, change, name
):
    original_run = Training.run

    def run_and_change(self, *arguments, **options):
        original_run(self, *arguments, **options)
        change(RunDir(tmp_path))

    monkeypatch.setattr(Training, "run", run_and_change)
    message = f"{name}: damaged or changed while the run trained"
    with pytest.raises(CheckpointError, match=message) as error:
        train_in(tmp_path, ONE_EPOCH)

    assert "\n" not in str(error.value)
    run = RunDir(tmp_path)
    results = read_json(run.results)
    assert (results["status"], results["error"]) == ("failed", str(error.value))
    assert not run.fingerprint.exists()
    assert "test" not in results or name != "best"


def test_a_run_whose_files_changed_computes_the_same_after_it_resumes(
    tmp_path, monkeypatch
):
    whole = fingerprint(train_in(tmp_path / "whole", ONE_EPOCH))
    run = RunDir(tmp_path / "run")
    original_run = Training.run

    def run_and_change(self, *arguments, **options):
        original_run(self, *arguments, **options)
        other_weight(run)
        missing_step(run)

    with monkeypatch.context() as patched:
        patched.setattr(Training, "run", run_and_change)
        with pytest.raises(CheckpointError):
            train_in(run.path, ONE_EPOCH)

    assert fingerprint(resume(run, ONE_EPOCH)) == whole
