"""A damaged run folder gets a named answer; no damaged weight is ever loaded."""

import json
import shutil

import pytest
from runs import fingerprint, train_in

from ostinato import TextClassifier, checkpoint
from ostinato.cli import load_run
from ostinato.config import EvaluateConfig
from ostinato.errors import UserError
from ostinato.run import evaluate
from ostinato.run_dir import RunDir, read_json

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
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "state.json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(run, finished, damage, name, caplog):
    caplog.set_level("INFO")
    newest, before = sorted(run.checkpoints.glob("step_*"), reverse=True)
    damage(newest / name)
    again = train_in(run.path, *KEPT, f"resume.run={run.path}")
    assert f"{newest} is damaged and passed over" in caplog.text
    assert f"going on at step {int(before.name[5:])} " in caplog.text
    assert fingerprint(again) == fingerprint(finished)


def test_without_a_whole_checkpoint_the_run_starts_again(run, finished, caplog):
    caplog.set_level("INFO")
    for step in run.checkpoints.glob("step_*"):
        flip(step / "model.safetensors")
    assert fingerprint(train_in(run.path, *KEPT, f"resume.run={run.path}")) == fingerprint(finished)
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
    read = {"config.yaml": lambda: load_run(str(run.path)), "provenance.json": lambda: read_json(run.provenance)}
    with pytest.raises(UserError, match=name) as error:
        read[name]()
    assert "\n" not in str(error.value)


def test_a_config_that_lacks_or_invents_keys_is_named(run):
    run.config.write_text(run.config.read_text().replace("batch_size:", "batchsize:"))
    with pytest.raises(UserError, match="batchsize"):
        load_run(str(run.path))


def test_only_the_newest_checkpoints_stay(run):
    assert [p.name for p in sorted(run.checkpoints.iterdir())] == ["step_00000006", "step_00000008"]


def test_a_full_disk_keeps_the_checkpoint_before_and_says_so(tmp_path, monkeypatch):
    real = checkpoint.save_file

    def full(weights, path):
        if "step_00000006" in str(path):
            raise OSError(28, "No space left on device")
        real(weights, path)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(UserError, match="No space left on device"):
        train_in(tmp_path, *KEPT)
    run = RunDir(tmp_path)
    assert [p.name for p in run.checkpoints.iterdir()] == ["step_00000003"]
    assert read_json(run.results)["status"] == "failed"
    assert json.loads(run.results.read_text())["error"].startswith("step 6: the checkpoint could not be written")


def test_a_loss_that_is_no_number_stops_with_step_and_rate_and_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"loss is (nan|inf) at step \d+ with learning rate") as error:
        train_in(tmp_path, "training.lr=1e30", "training.checkpoint_every=1", "training.log_every=1")
    step = int(str(error.value).split("at step ")[1].split()[0])
    assert [p.name for p in RunDir(tmp_path).checkpoints.iterdir()] == [f"step_{step - 1:08d}"]
