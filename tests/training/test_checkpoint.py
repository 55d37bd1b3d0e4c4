"""A damaged run folder gives an error that names it; no damaged weight is loaded."""

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from runs import fingerprint, resume, train_in

from ostinato import TextClassifier
from ostinato.cli.command import load_run
from ostinato.config import EvaluateConfig
from ostinato.errors import UserError
from ostinato.run.evaluate import evaluate
from ostinato.run_dir import RunDir, read_json
from ostinato.training import checkpoint
from ostinato.training.optim import build_optimizer
from ostinato.training.prepare import prepare

KEPT = ["training.checkpoint_every=3", "training.keep_checkpoints=2"]
FILES = ["model.safetensors", "optimizer.safetensors", "state.json"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train_in(tmp_path_factory.mktemp("damage") / "run", *KEPT)


@pytest.fixture
def run(finished, tmp_path):
    return RunDir(shutil.copytree(finished.path, tmp_path / "run"))


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def remove(path):
    path.unlink()


def swap(path):
    """Exchanges the contents of the file and another one in its folder."""
    files = [other for other in sorted(path.parent.iterdir()) if other.is_file()]
    other = next(file for file in files if file != path)
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)


def folder(path):
    path.unlink()
    path.mkdir()


DAMAGES = [truncate, empty, flip, remove, swap, folder]


def checkpoint_names(run):
    return sorted(path.name for path in run.checkpoints.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        pytest.param(
            *(name, damage),
            # Each file and each damage at least once in every run of the tests.
            marks=pytest.mark.proof if (file + number) % 3 else (),
        )
        for file, name in enumerate(FILES)
        for number, damage in enumerate(DAMAGES)
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_previous_one_is_used(
    run, finished, damage, name, caplog
):
    caplog.set_level("INFO")
    damage(run.checkpoint(8) / name)
    run.results.unlink()  # As after a kill before the end.

    resume(run, *KEPT)

    assert f"{run.checkpoint(8)} is damaged and is skipped" in caplog.text
    assert "resuming at step 6 " in caplog.text
    assert fingerprint(run) == fingerprint(finished)


def test_without_a_complete_checkpoint_the_run_starts_again(run, finished, caplog):
    caplog.set_level("INFO")
    for step in run.checkpoints.glob("step_*"):
        flip(step / "model.safetensors")
    run.results.unlink()

    resume(run, *KEPT)

    assert fingerprint(run) == fingerprint(finished)
    assert "starting at step 0" in caplog.text


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_best_weights_are_never_loaded(run, damage):
    damage(run.best_weights)
    with pytest.raises(UserError, match=r"model\.safetensors"):
        TextClassifier.load(run.path)
    with pytest.raises(UserError, match=r"model\.safetensors"):
        evaluate(EvaluateConfig(run=str(run.path)), *load_run(str(run.path)))


@pytest.mark.parametrize("damage", [truncate, empty, remove, folder])
def test_a_damaged_config_is_named_in_one_line(run, damage):
    damage(run.config)
    if damage is truncate:
        run.config.write_text("name: [")
    with pytest.raises(UserError, match=r"config\.yaml") as error:
        load_run(str(run.path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("damage", [truncate, empty, remove, folder])
def test_a_damaged_provenance_is_named_in_one_line(run, damage):
    damage(run.provenance)
    with pytest.raises(UserError, match=r"provenance\.json") as error:
        read_json(run.provenance)
    assert "\n" not in str(error.value)


def test_a_config_with_an_unknown_key_is_named(run):
    run.config.write_text(run.config.read_text().replace("batch_size:", "batchsize:"))
    with pytest.raises(UserError, match="batchsize"):
        load_run(str(run.path))


def test_only_the_newest_checkpoints_are_kept(run):
    assert checkpoint_names(run) == ["step_00000006", "step_00000008"]


@pytest.fixture
def small_disk(tmp_path):
    """A run whose checkpoints are on a file system for one and a half of them."""
    whole = train_in(tmp_path / "whole", *KEPT).checkpoint(8)
    size = sum(file.stat().st_size for file in whole.iterdir()) * 3 // 2
    run = RunDir(tmp_path / "run")
    run.checkpoints.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", run.checkpoints],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a small file system")
    yield run
    subprocess.run(["umount", run.checkpoints], check=True)


@pytest.mark.slow
def test_a_full_disk_keeps_the_previous_checkpoint_and_reports_it(small_disk):
    with pytest.raises(UserError, match="step 6: the checkpoint could not be written"):
        train_in(small_disk.path, *KEPT)
    assert checkpoint_names(small_disk) == ["step_00000003"]
    results = read_json(small_disk.results)
    assert results["status"] == "failed"
    assert "the previous one is kept" in results["error"]


@contextmanager
def forbidden(path):
    """Only root can read the path, and the test is not root inside the context."""
    path.chmod(0)
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public(run):
    """The run in a folder that another user can read; pytest's folders are private."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        copy = RunDir(shutil.copytree(run.path, Path(place) / "run"))
        for file in copy.path.rglob("*.safetensors"):
            file.chmod(0o644)  # safetensors writes files that only the user can read.
        yield copy


def model_and_optimizer(run):
    """Model and optimizer of a run as they were before its first step."""
    _, config = load_run(str(run.path))
    model = prepare(config).model
    return model, build_optimizer(model, config.training)


@pytest.mark.parametrize("name", [*FILES, "."])
def test_a_checkpoint_without_read_permission_is_skipped(public, name, caplog):
    parts = checkpoint.CheckpointParts(*model_and_optimizer(public))
    with forbidden(public.checkpoint(8) / name):
        state = checkpoint.load_newest(public, parts)
    assert state.step == 6
    assert "step_00000008 is damaged and is skipped" in caplog.text


def test_weights_and_records_without_read_permission_are_named(public):
    weights = pytest.raises(UserError, match=r"model\.safetensors")
    with forbidden(public.best_weights), weights:
        TextClassifier.load(public.path)
    for path in (public.results, public.provenance, public.fingerprint):
        with forbidden(path), pytest.raises(UserError, match=path.name):
            read_json(path)
    with forbidden(public.config), pytest.raises(UserError, match=r"config\.yaml"):
        load_run(str(public.path))


def test_an_infinite_loss_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path):
    every_step = ("training.checkpoint_every=1", "training.log_every=1")
    message = r"loss is (nan|inf) at step \d+ with learning rate"

    with pytest.raises(UserError, match=message) as error:
        train_in(tmp_path, "training.lr=1e30", *every_step)

    step = int(str(error.value).split("at step ")[1].split()[0])
    assert checkpoint_names(RunDir(tmp_path)) == [f"step_{step - 1:08d}"]
