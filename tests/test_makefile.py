"""`make` installs once, however many start together."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_two_installations_of_one_tree_take_turns(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "requirements.txt").write_text("packaging\n")
    (tmp_path / "scripts" / "train.py").write_text(
        "import packaging\nprint('trained')\n"
    )
    command = ["make", "train", f"PYTHON={sys.executable}"]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("MAKE")
    }
    started = [
        subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for _ in range(3)
    ]
    printed = [process.communicate(timeout=300)[0].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], printed
    assert sum("Installing" in text for text in printed) == 1
    assert all("trained" in text for text in printed)
