"""A run that goes back to a checkpoint is what it was there: its best weights, its step lines, no later checkpoint."""

import os
import shutil
import sys

import pytest
from runs import fingerprint, train_in
from test_resume import train_until_killed

from ostinato.record.digests import digest_file
from ostinato.run_dir import RunDir, read_json

MANY = (
    "training.checkpoint_every=3",
    "training.eval_every=2",
    "training.monitor=loss",
    "training.lr=0.03",
)


@pytest.mark.slow
def test_a_resumed_run_never_reports_best_weights_that_it_did_not_train(
    tmp_path, monkeypatch
):
    """One run is killed right after a checkpoint, the other later, after one more evaluation; both go on alike."""
    drift = ("training.lr=1e-9", "resume.allow_drift=true")
    early, late = tmp_path / "early", tmp_path / "late"
    train_until_killed(monkeypatch, 3, early, *MANY)
    train_until_killed(monkeypatch, 5, late, *MANY)
    assert digest_file(RunDir(early).best_weights) != digest_file(
        RunDir(late).best_weights
    )
    ends = [train_in(run, *MANY, *drift, f"resume.run={run}") for run in (early, late)]
    assert fingerprint(ends[0]) == fingerprint(ends[1])
    assert read_json(ends[0].results)["val"] == read_json(ends[1].results)["val"]


def test_a_run_without_an_evaluation_yet_starts_without_best_weights(
    tmp_path, monkeypatch
):
    options = (
        "training.checkpoint_every=1",
        "training.keep_checkpoints=3",
        "training.eval_every=2",
    )
    train_until_killed(monkeypatch, 3, tmp_path, *options)
    run = RunDir(tmp_path)
    assert run.best.exists()
    for step in (2, 3):
        (run.checkpoint(step) / "state.json").unlink()
    train_in(tmp_path, *options, f"resume.run={tmp_path}", until_step=1)
    assert not run.best.exists()


@pytest.mark.slow
def test_best_weights_that_were_lost_come_back_from_the_checkpoints_copy(
    tmp_path, monkeypatch
):
    whole = fingerprint(train_in(tmp_path / "whole", *MANY))
    train_until_killed(monkeypatch, 4, tmp_path / "run", *MANY)
    run = RunDir(tmp_path / "run")
    for path in run.best.iterdir():
        path.write_bytes(b"damaged")
    assert fingerprint(train_in(run.path, *MANY, f"resume.run={run.path}")) == whole


@pytest.mark.slow
def test_without_any_copy_of_its_best_weights_a_checkpoint_is_passed_over(
    tmp_path, monkeypatch, caplog
):
    whole = fingerprint(train_in(tmp_path / "whole", *MANY))
    train_until_killed(monkeypatch, 4, tmp_path / "run", *MANY)
    run = RunDir(tmp_path / "run")
    for path in (run.best_weights, *run.kept_best.iterdir()):
        path.write_bytes(b"damaged")
    assert fingerprint(train_in(run.path, *MANY, f"resume.run={run.path}")) == whole
    assert "its best weights are neither in" in caplog.text


def test_only_best_weights_that_a_kept_checkpoint_needs_stay(tmp_path):
    run = train_in(tmp_path, *MANY, "training.checkpoint_every=1")
    assert [path.stem for path in run.kept_best.iterdir()] == [
        fingerprint(run)["best_weights"]
    ]


def killed_before_change(folder, number, *options):
    """Trains in a process that dies before its `number`th rename or removal of a file; False when it finished."""
    child = os.fork()
    if child == 0:
        left = [number]

        def watch(event, _):
            if event in ("os.rename", "os.remove", "shutil.rmtree"):
                left[0] -= 1
                if left[0] < 0:
                    os._exit(9)

        sys.addaudithook(watch)
        try:
            train_in(folder, *options)
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


@pytest.mark.slow
@pytest.mark.parametrize(
    "first_of_each",
    [
        pytest.param(7, id="one of seven moments"),
        pytest.param(1, marks=pytest.mark.proof),
    ],
)
def test_a_kill_between_any_two_changes_of_files_leaves_no_trace(
    tmp_path, first_of_each
):
    options = (*MANY, "training.epochs=1")
    whole = fingerprint(train_in(tmp_path / "whole", *options))
    number = 3
    while killed_before_change(tmp_path / str(number), number, *options):
        run = tmp_path / str(number)
        assert fingerprint(train_in(run, *options, "resume.run=auto")) == whole, (
            f"killed before change {number}"
        )
        number += first_of_each
    assert number > 20


EVERY_TWO = ("training.checkpoint_every=2",)


def damage(checkpoint):
    (checkpoint / "model.safetensors").write_bytes(b"damaged")


@pytest.mark.slow
def test_new_checkpoints_stay_although_a_damaged_one_has_a_higher_number(
    tmp_path, monkeypatch, caplog
):
    caplog.set_level("INFO")
    train_until_killed(monkeypatch, 7, tmp_path, *EVERY_TWO)
    damage(RunDir(tmp_path).checkpoint(6))
    train_until_killed(monkeypatch, 5, tmp_path, *EVERY_TWO, f"resume.run={tmp_path}")
    assert [path.name for path in RunDir(tmp_path).checkpoints.iterdir()] == [
        "step_00000004"
    ]
    train_in(tmp_path, *EVERY_TWO, f"resume.run={tmp_path}")
    assert "resuming at step 4 " in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["step_good", "step_99999999.bak", "step_9"])
def test_folders_of_other_names_are_neither_counted_nor_deleted(
    tmp_path, monkeypatch, name, caplog
):
    caplog.set_level("INFO")
    stray = RunDir(tmp_path).checkpoints / name
    stray.mkdir(parents=True)
    train_until_killed(monkeypatch, 5, tmp_path, *EVERY_TWO)
    assert sorted(path.name for path in stray.parent.iterdir()) == sorted(
        ["step_00000004", name]
    )
    train_in(tmp_path, *EVERY_TWO, f"resume.run={tmp_path}")
    assert "resuming at step 4 " in caplog.text
    assert "damaged" not in caplog.text


def test_a_checkpoint_after_the_one_that_a_run_went_back_to_is_gone(
    tmp_path, monkeypatch
):
    kept = (*EVERY_TWO, "training.keep_checkpoints=3")
    train_until_killed(monkeypatch, 7, tmp_path, *kept)
    run = RunDir(tmp_path)
    damage(run.checkpoint(6))
    options = (
        *kept,
        "training.lr=0.5",
        "resume.allow_drift=true",
        f"resume.run={tmp_path}",
    )
    train_until_killed(monkeypatch, 5, tmp_path, *options)
    assert [p.name for p in sorted(run.checkpoints.iterdir())] == [
        "step_00000002",
        "step_00000004",
    ]


def test_a_checkpoint_of_another_model_is_refused_in_one_line(tmp_path, monkeypatch):
    train_until_killed(monkeypatch, 5, tmp_path, *EVERY_TWO)
    options = (
        "model.architecture.hidden_size=48",
        "resume.allow_drift=true",
        f"resume.run={tmp_path}",
    )
    with pytest.raises(
        ValueError, match="step_00000004 is of another model"
    ) as refused:
        train_in(tmp_path, *EVERY_TWO, *options)
    assert "\n" not in str(refused.value)


def without_line(lines):
    return [*lines[:2], *lines[3:]]


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


@pytest.mark.parametrize("change", [without_line, swapped, doubled, edited, joined])
def test_step_lines_that_changed_are_computed_again(killed, tmp_path, change, caplog):
    whole = killed[1]
    run = RunDir(shutil.copytree(killed[0].path, tmp_path / "run"))
    run.steps.write_bytes(
        b"".join(change(run.steps.read_bytes().splitlines(keepends=True)))
    )
    assert (
        fingerprint(train_in(run.path, *EVERY_TWO, f"resume.run={run.path}")) == whole
    )
    assert "steps.jsonl does not hold its steps 1 to 6" in caplog.text


def test_a_last_step_line_that_was_cut_off_costs_no_checkpoint(
    tmp_path, monkeypatch, caplog
):
    caplog.set_level("INFO")
    run = RunDir(tmp_path)
    train_until_killed(monkeypatch, 7, run.path, *EVERY_TWO, "training.log_every=1")
    run.steps.write_bytes(run.steps.read_bytes()[:-20])
    train_in(run.path, *EVERY_TWO, f"resume.run={run.path}")
    assert "resuming at step 6 " in caplog.text
    assert [step["step"] for step in fingerprint(run)["steps"]] == list(range(1, 9))
