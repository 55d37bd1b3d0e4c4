"""Temporary folders: the owner's stays, those of killed processes are deleted."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ostinato.storage.scratch import scratch_folder

OWN = """if True:
    import sys
    from ostinato.storage.scratch import scratch_folder
    print(scratch_folder("ostinato-test-"), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield tmp_path
    tempfile.tempdir = None


def owner(root):
    process = subprocess.Popen(
        [sys.executable, "-c", OWN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(root)},
    )
    return process, process.stdout.readline().strip()


def test_only_the_folder_of_a_killed_process_is_deleted(root):
    killed, of_killed = owner(root)
    living, of_living = owner(root)
    other = root / "ostinato-test-unlocked"  # its owner may be about to lock it
    other.mkdir()
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert Path(of_killed).is_dir()

    own = scratch_folder("ostinato-test-")

    assert {str(path) for path in root.iterdir()} == {
        of_living,
        str(other),
        str(own),
    }
    living.communicate()
    assert not Path(of_living).exists(), "removed at the end"
