"""`make` installs once, even if several start together."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = "import packaging\nprint('trained')\n"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_three_makes_in_one_tree_install_once(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "requirements.txt").write_text("packaging\n")
    (tmp_path / "scripts" / "train.py").write_text(SCRIPT)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("MAKE")
    }
    started = []
    for _ in range(3):
        process = subprocess.Popen(
            ["make", "train", f"PYTHON={sys.executable}"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        started.append(process)
    printed = [process.communicate(timeout=300)[0].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], printed
    assert sum("Installing" in text for text in printed) == 1
    assert all("trained" in text for text in printed)
