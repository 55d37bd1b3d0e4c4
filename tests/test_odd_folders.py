"""A run folder can have any name that the file system allows.

The run resumes with the printed command, and can be evaluated.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from runs import DEBUG

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"
NAMES = [
    "it's, [b] {c} = ~(d) ",  # all at once, with a space at the end
    "-dash",
    "ünï→",
    *(f"a{character}b" for character in "',=[{~( \"\\"),
    "null",
    "007",
    "a\nb",
]


def shell(command, cwd):
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    return subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.proof
@pytest.mark.parametrize("name", NAMES)
def test_a_run_in_a_folder_with_an_odd_name_resumes_and_is_evaluated(name, tmp_path):
    (tmp_path / "scripts").symlink_to(SCRIPTS)
    typed = [*DEBUG, "tracker=jsonl", "training.checkpoint_every=1"]
    # Sets the request to stop directly, so that no signal has to arrive at the right
    # moment.
    code = (
        "import sys, signal; sys.path.insert(0, 'scripts'); import train as script\n"
        "from ostinato.training import loop\n"
        "step = loop.Training._step\n"
        "def stopped(self):\n    step(self); self._stop.signal = signal.SIGTERM\n"
        "loop.Training._step = stopped; script.main()"
    )
    folder = tmp_path / name
    folder.mkdir()  # a folder that exists needs no quotes
    stopped = subprocess.run(
        [sys.executable, "-c", code, *typed, f"hydra.run.dir={name}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert stopped.returncode == 143, stopped.stdout + stopped.stderr
    assert (folder / "checkpoints" / "step_00000001").is_dir()
    hint = re.search(
        r"resume with: (python .*)", stopped.stdout + stopped.stderr, re.DOTALL
    )[1].strip()

    resumed = shell(hint, tmp_path)

    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "resuming at step" in (folder / "train.log").read_text()
    assert (folder / "results.json").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"scripts", name}, (
        "a folder of another name"
    )
    evaluated = subprocess.run(
        [sys.executable, "scripts/evaluate.py", f"run={name}/", "device=cpu"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert evaluated.returncode == 0, evaluated.stderr
    assert '"accuracy"' in evaluated.stdout
