"""A run that goes back to a checkpoint has the files that belong to the checkpoint.

These are its best weights, its step lines, and no later checkpoint.
"""

import os
import shutil
import sys

import pytest
from runs import fingerprint, resume, train_in, train_until_killed

from ostinato.errors import CheckpointError
from ostinato.record.digests import digest_file, digest_unless_known
from ostinato.run_dir import RunDir, read_json
from ostinato.training import loop

MANY = (
    "training.checkpoint_every=3",
    "training.eval_every=2",
    "training.monitor=loss",
    "training.lr=0.03",
)
EVERY_TWO = ("training.checkpoint_every=2",)


def checkpoint_names(run):
    return sorted(path.name for path in run.checkpoints.iterdir())


@pytest.mark.slow
def test_a_resumed_run_never_reports_best_weights_that_it_did_not_train(
    tmp_path, monkeypatch
):
    """One run is killed right after a checkpoint, the other after one more evaluation.

    After they resume, both compute the same.
    """
    early, late = RunDir(tmp_path / "early"), RunDir(tmp_path / "late")
    train_until_killed(monkeypatch, 3, early.path, *MANY)
    train_until_killed(monkeypatch, 5, late.path, *MANY)
    assert digest_file(early.best_weights) != digest_file(late.best_weights)

    for run in (early, late):
        resume(run, *MANY, "training.lr=1e-9", "resume.allow_drift=true")

    assert fingerprint(early) == fingerprint(late)
    assert read_json(early.results)["val"] == read_json(late.results)["val"]


@pytest.mark.slow
def test_a_run_without_an_evaluation_yet_starts_without_best_weights(
    tmp_path, monkeypatch
):
    options = (
        "training.checkpoint_every=1",
        "training.keep_checkpoints=3",
        "training.eval_every=2",
    )
    run = RunDir(tmp_path)
    train_until_killed(monkeypatch, 3, run.path, *options)
    assert run.best.exists()
    for step in (2, 3):
        (run.checkpoint(step) / "state.json").unlink()

    train_in(run.path, *options, f"resume.run={run.path}", until_step=1)

    assert not run.best.exists()


@pytest.mark.slow
def test_lost_best_weights_are_restored_from_the_copy_of_the_checkpoint(
    tmp_path, monkeypatch
):
    whole = fingerprint(train_in(tmp_path / "whole", *MANY))
    run = RunDir(tmp_path / "run")
    train_until_killed(monkeypatch, 4, run.path, *MANY)
    for path in run.best.iterdir():
        path.write_bytes(b"damaged")

    resume(run, *MANY)

    assert fingerprint(run) == whole


@pytest.mark.slow
def test_a_checkpoint_without_any_copy_of_its_best_weights_is_skipped(
    tmp_path, monkeypatch, caplog
):
    whole = fingerprint(train_in(tmp_path / "whole", *MANY))
    run = RunDir(tmp_path / "run")
    train_until_killed(monkeypatch, 4, run.path, *MANY)
    for path in (run.best_weights, *run.kept_best.iterdir()):
        path.write_bytes(b"damaged")

    resume(run, *MANY)

    assert fingerprint(run) == whole
    assert "its best weights are neither in" in caplog.text


@pytest.mark.slow
def test_only_best_weights_that_a_kept_checkpoint_needs_are_kept(tmp_path):
    run = train_in(tmp_path, *MANY, "training.checkpoint_every=1")
    kept = [path.stem for path in run.kept_best.iterdir()]
    assert kept == [fingerprint(run)["best_weights"]]


def is_killed_before_change(number, folder, *options):
    """Trains in a process that dies before its `number`th rename or removal of a file.

    Returns False if the training finished before.
    """
    child = os.fork()
    if child == 0:
        _train_and_exit(number, folder, *options)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


def _train_and_exit(number, folder, *options):
    changes = 0

    def exit_before_change(event, _):
        nonlocal changes
        if event not in ("os.rename", "os.remove", "shutil.rmtree"):
            return
        changes += 1
        if changes > number:
            os._exit(9)

    sys.addaudithook(exit_before_change)
    try:
        train_in(folder, *options)
    except BaseException:
        os._exit(1)
    os._exit(0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "every",
    [
        pytest.param(30, id="one of 30 moments"),
        pytest.param(1, marks=pytest.mark.proof),
    ],
)
def test_a_kill_between_any_two_changes_of_files_does_not_change_the_result(
    tmp_path, every
):
    options = (*MANY, "training.epochs=1")
    whole = fingerprint(train_in(tmp_path / "whole", *options))
    number = 3
    while is_killed_before_change(number, tmp_path / str(number), *options):
        run = train_in(tmp_path / str(number), *options, "resume.run=auto")
        assert fingerprint(run) == whole, f"killed before change {number}"
        number += every
    assert number > 20


def damage(checkpoint):
    (checkpoint / "model.safetensors").write_bytes(b"damaged")


@pytest.mark.slow
def test_new_checkpoints_are_kept_although_a_damaged_one_has_a_higher_number(
    tmp_path, monkeypatch, caplog
):
    caplog.set_level("INFO")
    run = RunDir(tmp_path)
    train_until_killed(monkeypatch, 7, run.path, *EVERY_TWO)
    damage(run.checkpoint(6))
    train_until_killed(monkeypatch, 5, run.path, *EVERY_TWO, f"resume.run={run.path}")
    assert checkpoint_names(run) == ["step_00000004"]

    resume(run, *EVERY_TWO)

    assert "resuming at step 4 " in caplog.text


DAMAGES = {
    "weights": lambda run: damage(run.checkpoint(4)),
    "state": lambda run: (run.checkpoint(4) / "state.json").write_text("{}"),
    "optimizer": lambda run: (run.checkpoint(4) / "optimizer.safetensors").unlink(),
}


@pytest.mark.parametrize("damaged", DAMAGES)
def test_a_checkpoint_that_is_damaged_during_a_session_replaces_no_whole_one(
    tmp_path, monkeypatch, damaged, caplog
):
    caplog.set_level("INFO")
    run = RunDir(tmp_path)
    original_step = loop.Training._step

    def damaging_step(self):
        if self.state.step == 5:
            DAMAGES[damaged](run)
        original_step(self)

    monkeypatch.setattr(loop.Training, "_step", damaging_step)
    options = (*EVERY_TWO, "training.keep_checkpoints=2")
    train_until_killed(monkeypatch, 7, tmp_path, *options)
    assert checkpoint_names(run) == [f"step_0000000{step}" for step in (2, 4, 6)]
    assert "step_00000004 is damaged" in caplog.text

    damage(run.checkpoint(6))
    monkeypatch.undo()
    resume(run, *options)

    assert "resuming at step 2 " in caplog.text
    assert checkpoint_names(run) == [f"step_0000000{step}" for step in (6, 8)]


def test_a_checkpoint_without_its_steps_is_not_written(tmp_path, monkeypatch):
    run = RunDir(tmp_path)
    original_step = loop.Training._step

    def damaging_step(self):
        if self.state.step == 5:
            run.steps.write_bytes(b"".join(without_line(run.steps.open("rb"))))
        original_step(self)

    monkeypatch.setattr(loop.Training, "_step", damaging_step)
    with pytest.raises(CheckpointError, match=r"steps\.jsonl: damaged or changed"):
        train_in(tmp_path, *EVERY_TWO)
    assert checkpoint_names(run) == ["step_00000004"]


def test_a_whole_checkpoint_is_not_read_again_while_it_is_unchanged(tmp_path):
    file, renamed = tmp_path / "a", tmp_path / "b"
    file.write_bytes(b"content")
    first = digest_unless_known(file)
    file.rename(renamed)
    assert digest_unless_known(renamed) == first == digest_file(renamed)
    renamed.write_bytes(b"Content")
    assert digest_unless_known(renamed) == digest_file(renamed) != first


@pytest.mark.slow
@pytest.mark.parametrize("name", ["step_good", "step_99999999.bak", "step_9"])
def test_folders_with_other_names_are_neither_counted_nor_deleted(
    tmp_path, monkeypatch, name, caplog
):
    caplog.set_level("INFO")
    run = RunDir(tmp_path)
    (run.checkpoints / name).mkdir(parents=True)
    train_until_killed(monkeypatch, 5, run.path, *EVERY_TWO)
    assert checkpoint_names(run) == sorted(["step_00000004", name])

    resume(run, *EVERY_TWO)

    assert "resuming at step 4 " in caplog.text
    assert "damaged" not in caplog.text


@pytest.mark.slow
def test_a_checkpoint_after_the_one_that_a_run_resumes_from_is_deleted(
    tmp_path, monkeypatch
):
    kept = (*EVERY_TWO, "training.keep_checkpoints=3")
    run = RunDir(tmp_path)
    train_until_killed(monkeypatch, 7, run.path, *kept)
    damage(run.checkpoint(6))
    drift = ("training.lr=0.5", "resume.allow_drift=true", f"resume.run={run.path}")

    train_until_killed(monkeypatch, 5, run.path, *kept, *drift)

    assert checkpoint_names(run) == ["step_00000002", "step_00000004"]


@pytest.mark.slow
def test_a_checkpoint_of_another_model_is_refused_in_one_line(tmp_path, monkeypatch):
    train_until_killed(monkeypatch, 5, tmp_path, *EVERY_TWO)
    drift = ("model.architecture.hidden_size=48", "resume.allow_drift=true")
    message = "step_00000004 is of another model"
    with pytest.raises(ValueError, match=message) as refused:
        resume(RunDir(tmp_path), *EVERY_TWO, *drift)
    assert "\n" not in str(refused.value)


def without_line(lines):
    first, second, _, *rest = lines
    return [first, second, *rest]


def swapped(lines):
    return [lines[1], lines[0], *lines[2:]]


def doubled(lines):
    return [lines[0], *lines]


def edited(lines):
    return [lines[0].replace(b'"loss": ', b'"loss": 1'), *lines[1:]]


def joined(lines):
    return [lines[0].rstrip(), *lines[1:]]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run that was killed after step 7, and what it would have computed."""
    place = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as monkeypatch:
        train_until_killed(monkeypatch, 7, place / "run", *EVERY_TWO)
    return RunDir(place / "run"), fingerprint(train_in(place / "whole", *EVERY_TWO))


@pytest.mark.slow
@pytest.mark.parametrize("change", [without_line, swapped, doubled, edited, joined])
def test_steps_whose_lines_changed_are_computed_again(killed, tmp_path, change, caplog):
    original, whole = killed
    run = RunDir(shutil.copytree(original.path, tmp_path / "run"))
    lines = run.steps.read_bytes().splitlines(keepends=True)
    run.steps.write_bytes(b"".join(change(lines)))

    resume(run, *EVERY_TWO)

    assert fingerprint(run) == whole
    assert "steps.jsonl does not hold its steps 1 to 6" in caplog.text


@pytest.mark.slow
def test_a_last_step_line_that_was_cut_off_costs_no_checkpoint(
    tmp_path, monkeypatch, caplog
):
    caplog.set_level("INFO")
    run = RunDir(tmp_path)
    train_until_killed(monkeypatch, 7, run.path, *EVERY_TWO, "training.log_every=1")
    run.steps.write_bytes(run.steps.read_bytes()[:-20])

    resume(run, *EVERY_TWO)

    assert "resuming at step 6 " in caplog.text
    assert [step["step"] for step in fingerprint(run)["steps"]] == list(range(1, 9))
