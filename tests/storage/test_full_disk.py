"""A full disk ends a run with one line, and the run resumes when there is space."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from preloaded import python
from runs import DEBUG, fingerprint, train_in

from ostinato.errors import StorageError, UserError
from ostinato.run_dir import RunDir, read_json
from ostinato.storage.atomic import (
    atomic_folder,
    remove_leftovers,
    storage_errors,
    write_text,
)

ROOT = Path(__file__).parents[2]
OPTIONS = ("training.checkpoint_every=3", "tracker=[jsonl,tensorboard]")
PAGE = 4096


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train_in(tmp_path_factory.mktemp("whole"), *OPTIONS)


def mount(folder, *options):
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", folder]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a small file system")


@pytest.fixture
def disk(tmp_path):
    """A small file system; `disk(size)` makes it or resizes it."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def resize(size):
        mount(folder, *(["remount"] if folder.is_mount() else []), f"size={size}")
        return RunDir(folder)

    yield resize
    if folder.is_mount():
        subprocess.run(["umount", folder], check=True)


def refusal(run):
    """The message of a training that the disk stops; empty if the training finishes."""
    try:
        train_in(run.path, *OPTIONS)
    except UserError as error:
        return str(error)
    return ""


def num_bytes(folder):
    return sum(
        -(-p.stat().st_size // PAGE) * PAGE for p in folder.rglob("*") if p.is_file()
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "share",
    [
        0.3,
        *(
            pytest.param(n, marks=pytest.mark.proof)
            for n in (0.02, 0.1, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
        ),
    ],
)
def test_a_full_disk_at_any_write_is_one_line_and_the_run_resumes(whole, disk, share):
    run = disk(int(num_bytes(whole.path) * share))
    message = refusal(run)
    if message or share < 0.8:
        assert "\n" not in message
        assert "No space left on device" in message
        assert f"resume={run.path}" in message
        assert not run.results.is_file() or read_json(run.results)["status"] == "failed"
    assert not list(run.path.rglob(".*.tmp"))
    disk("100m")
    assert fingerprint(train_in(run.path, *OPTIONS, "resume.run=auto")) == fingerprint(
        whole
    )
    assert read_json(run.results)["status"] == "finished"


@pytest.mark.slow
@pytest.mark.parametrize(
    "limit",
    [
        pytest.param(100, marks=pytest.mark.proof),
        40_000,
        pytest.param(160_000, marks=pytest.mark.proof),
    ],
)
def test_a_limit_on_file_size_is_one_line_and_the_run_resumes(whole, tmp_path, limit):
    run = RunDir(tmp_path / "run")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        message = refusal(run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in message
    assert "File too large" in message
    assert f"resume={run.path}" in message
    assert fingerprint(train_in(run.path, *OPTIONS, "resume.run=auto")) == fingerprint(
        whole
    )


@pytest.mark.slow
def test_a_full_disk_gives_exit_code_2_and_no_traceback(disk, whole):
    run = disk(num_bytes(whole.path) // 3)
    command = [
        python(),
        ROOT / "scripts" / "train.py",
        *DEBUG,
        *OPTIONS,
        f"hydra.run.dir={run.path}",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=run.path.parent
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "No space left on device" in done.stdout + done.stderr


def test_a_folder_that_a_killed_process_was_replacing_is_restored(tmp_path):
    target = tmp_path / "best"
    target.mkdir()
    (target / "weights").write_text("old")
    code = (
        "import os, pathlib, sys\n"
        "from ostinato.storage.atomic import atomic_folder\n"
        "rename, target = pathlib.Path.rename, pathlib.Path(sys.argv[1])\n"
        "def killed(self, other):\n"
        "    rename(self, other)\n"
        "    os.kill(os.getpid(), 9)\n"
        "pathlib.Path.rename = killed\n"
        "with atomic_folder(target) as folder:\n"
        "    (folder / 'weights').write_text('new')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, target], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not target.exists()
    remove_leftovers(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["best"]
    assert (target / "weights").read_text() == "old"


def test_a_process_with_the_id_of_a_killed_one_keeps_the_old_folder(tmp_path):
    old = tmp_path / f".best.old.{os.getpid()}.tmp"
    old.mkdir()
    (old / "weights").write_text("old")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "best"):
        raise RuntimeError("the new one fails")
    assert (tmp_path / "best" / "weights").read_text() == "old"


@pytest.mark.slow
def test_a_run_that_was_killed_while_replacing_best_resumes(whole, tmp_path):
    run = train_in(tmp_path / "run", *OPTIONS, until_step=6)
    run.best.rename(run.path / ".best.old.1.tmp")
    (run.path / ".results.json.1.tmp").write_text("{")
    (run.path / ".best.1.tmp").mkdir()
    assert fingerprint(
        train_in(run.path, *OPTIONS, f"resume.run={run.path}")
    ) == fingerprint(whole)
    assert not list(run.path.rglob(".*.tmp"))


def test_an_error_names_the_file_and_not_the_temporary_name(tmp_path):
    with pytest.raises(OSError, match="notes") as error:
        write_text(tmp_path / "missing" / "notes.txt", "text")
    assert error.value.filename == str(tmp_path / "missing" / "notes.txt")


def test_other_errors_are_unchanged(tmp_path):
    with pytest.raises(FileNotFoundError), storage_errors(tmp_path, "remedy"):
        (tmp_path / "missing").read_text()
    expected = pytest.raises(
        StorageError, match=r"cannot be written \(No space left on device\); remedy"
    )
    with expected, storage_errors(tmp_path, "remedy"):
        raise RuntimeError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        )
