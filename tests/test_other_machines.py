"""The tests pass on other processors and in other surroundings. Each entry runs the quick tests once."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTEST = [
    sys.executable,
    "-m",
    "pytest",
    "-m",
    "not slow and not proof",
    "--numprocesses",
    "2",
    "-p",
    "no:cacheprovider",
]
# What imitates another machine. None takes a variable away.
SURROUNDINGS: dict[str, dict[str, str | None]] = {
    "a processor without AVX": {"ATEN_CPU_CAPABILITY": "default"},
    "a processor with AVX2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "oneDNN with AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "MKL with AVX2": {"MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "one thread": {"OMP_NUM_THREADS": "1"},
    "four threads": {"OMP_NUM_THREADS": "4"},
    "random hashes": {"PYTHONHASHSEED": "random"},
    "another hash seed": {"PYTHONHASHSEED": "4242"},
    "the C locale": {"LC_ALL": "C", "LANG": None, "PYTHONUTF8": "0"},
    "another time zone": {"TZ": "Asia/Kathmandu"},
    "no HOME": {"HOME": None},
    "no terminal": {"TERM": None, "COLUMNS": None},
}


@pytest.mark.proof
@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_the_quick_tests_pass_on(surroundings):
    environment = {**os.environ, **SURROUNDINGS[surroundings]}
    run(
        [*PYTEST],
        {name: value for name, value in environment.items() if value is not None},
    )


@pytest.mark.proof
@pytest.mark.skipif(
    shutil.which("unshare") is None or os.getuid() != 0, reason="needs root and unshare"
)
def test_the_quick_tests_pass_in_a_read_only_checkout():
    read_only = f"mount --bind {ROOT} {ROOT} && mount -o remount,bind,ro {ROOT} && cd {ROOT} && exec "
    run(
        ["unshare", "--mount", "sh", "-c", read_only + '"$@"', "sh", *PYTEST],
        dict(os.environ),
    )


def run(command, environment):
    # A session of its own has no controlling terminal.
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
