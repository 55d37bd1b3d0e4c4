"""The tests pass on other processors and in other environments.

Each case runs the quick tests once.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTEST = [
    sys.executable,
    *("-m", "pytest", "-m", "not slow and not proof"),
    *("--numprocesses", "2", "-p", "no:cacheprovider"),
]
# The variables that imitate another machine; None removes a variable.
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
CAN_MOUNT = shutil.which("unshare") is not None and os.getuid() == 0

pytestmark = pytest.mark.proof


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_the_quick_tests_pass_with(surroundings):
    environment = dict(os.environ)
    for name, value in SURROUNDINGS[surroundings].items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value
    run(PYTEST, environment)


@pytest.mark.skipif(not CAN_MOUNT, reason="needs root and unshare")
def test_the_quick_tests_pass_in_a_read_only_checkout():
    steps = [
        f"mount --bind {ROOT} {ROOT}",
        f"mount -o remount,bind,ro {ROOT}",
        f"cd {ROOT}",
        'exec "$@"',
    ]
    shell = ["unshare", "--mount", "sh", "-c", " && ".join(steps), "sh"]
    run([*shell, *PYTEST], dict(os.environ))


def run(command, environment):
    """Runs the tests without a controlling terminal."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
