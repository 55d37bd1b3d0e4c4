"""A damaged run folder gets a named answer; no damaged weight is ever loaded."""

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from runs import fingerprint, train_in

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


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train_in(tmp_path_factory.mktemp("damage") / "run", *KEPT)


@pytest.fixture
def run(finished, tmp_path):
    shutil.copytree(finished.path, tmp_path / "run")
    return RunDir(tmp_path / "run")


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
    other = next(p for p in sorted(path.parent.iterdir()) if p.is_file() and p != path)
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)


def folder(path):
    path.unlink()
    path.mkdir()


DAMAGES = [truncate, empty, flip, remove, swap, folder]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.safetensors", "state.json"]
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(
    run, finished, damage, name, caplog
):
    caplog.set_level("INFO")
    newest, before = sorted(run.checkpoints.glob("step_*"), reverse=True)
    damage(newest / name)
    run.results.unlink()  # as after a kill before the end
    again = train_in(run.path, *KEPT, f"resume.run={run.path}")
    assert f"{newest} is damaged and passed over" in caplog.text
    assert f"resuming at step {int(before.name[5:])} " in caplog.text
    assert fingerprint(again) == fingerprint(finished)


def test_without_a_whole_checkpoint_the_run_starts_again(run, finished, caplog):
    caplog.set_level("INFO")
    for step in run.checkpoints.glob("step_*"):
        flip(step / "model.safetensors")
    run.results.unlink()
    assert fingerprint(
        train_in(run.path, *KEPT, f"resume.run={run.path}")
    ) == fingerprint(finished)
    assert "starting at step 0" in caplog.text


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_best_weights_are_never_loaded(run, damage):
    damage(run.best_weights)
    with pytest.raises(UserError, match=r"model\.safetensors"):
        TextClassifier.load(run.path)
    with pytest.raises(UserError, match=r"model\.safetensors"):
        evaluate(EvaluateConfig(run=str(run.path)), *load_run(str(run.path)))


@pytest.mark.parametrize("damage", [truncate, empty, remove, folder])
@pytest.mark.parametrize("name", ["config.yaml", "provenance.json"])
def test_a_damaged_record_is_named_in_one_line(run, damage, name):
    damage(run.path / name)
    if name == "config.yaml" and damage is truncate:
        run.config.write_text("name: [")
    read = {
        "config.yaml": lambda: load_run(str(run.path)),
        "provenance.json": lambda: read_json(run.provenance),
    }
    with pytest.raises(UserError, match=name) as error:
        read[name]()
    assert "\n" not in str(error.value)


def test_a_config_that_lacks_or_invents_keys_is_named(run):
    run.config.write_text(run.config.read_text().replace("batch_size:", "batchsize:"))
    with pytest.raises(UserError, match="batchsize"):
        load_run(str(run.path))


def test_only_the_newest_checkpoints_stay(run):
    assert [p.name for p in sorted(run.checkpoints.iterdir())] == [
        "step_00000006",
        "step_00000008",
    ]


@pytest.fixture
def small_disk(tmp_path):
    """A file system for checkpoints that holds one and a half of them."""
    whole = train_in(tmp_path / "whole", *KEPT).checkpoint(8)
    size = sum(file.stat().st_size for file in whole.iterdir()) * 3 // 2
    checkpoints = RunDir(tmp_path / "run").checkpoints
    checkpoints.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", checkpoints],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a small file system")
    yield RunDir(tmp_path / "run")
    subprocess.run(["umount", checkpoints], check=True)


def test_a_full_disk_keeps_the_checkpoint_before_and_says_so(small_disk):
    with pytest.raises(UserError, match="step 6: the checkpoint could not be written"):
        train_in(small_disk.path, *KEPT)
    assert [p.name for p in small_disk.checkpoints.iterdir()] == ["step_00000003"]
    results = read_json(small_disk.results)
    assert results["status"] == "failed"
    assert "the one before is kept" in results["error"]


@contextmanager
def forbidden(path):
    """Nobody but root may read it, and we are not root for a while."""
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
def public(run, tmp_path):
    """The run where another user may read it: pytest keeps its folders to the user who runs it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        copy = RunDir(shutil.copytree(run.path, Path(folder) / "run"))
        for file in copy.path.rglob("*.safetensors"):
            file.chmod(0o644)  # safetensors writes for the user alone
        yield copy


def parts(run):
    """Model and optimizer of a run as they were before its first step."""
    _, config = load_run(str(run.path))
    model = prepare(config).model
    return model, build_optimizer(model, config.training)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.safetensors", "state.json", "."]
)
def test_a_checkpoint_that_may_not_be_read_is_passed_over(public, name, caplog):
    model, optimizer = parts(public)
    with forbidden(public.checkpoint(8) / name):
        state = checkpoint.load_newest(public, model, optimizer)
    assert state.step == 6
    assert "step_00000008 is damaged and passed over" in caplog.text


def test_weights_and_records_that_may_not_be_read_are_named(public):
    with (
        forbidden(public.best_weights),
        pytest.raises(UserError, match=r"model\.safetensors"),
    ):
        TextClassifier.load(public.path)
    for path in (public.results, public.provenance, public.fingerprint):
        with forbidden(path), pytest.raises(UserError, match=path.name):
            read_json(path)
    with forbidden(public.config), pytest.raises(UserError, match=r"config\.yaml"):
        load_run(str(public.path))


def test_a_loss_that_is_no_number_stops_with_step_and_rate_and_keeps_the_last_good_checkpoint(
    tmp_path,
):
    with pytest.raises(
        UserError, match=r"loss is (nan|inf) at step \d+ with learning rate"
    ) as error:
        train_in(
            tmp_path,
            "training.lr=1e30",
            "training.checkpoint_every=1",
            "training.log_every=1",
        )
    step = int(str(error.value).split("at step ")[1].split()[0])
    assert [p.name for p in RunDir(tmp_path).checkpoints.iterdir()] == [
        f"step_{step - 1:08d}"
    ]
