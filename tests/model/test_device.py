"""Memory that is freed is used again."""

import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from ostinato.model.device import keep_freed_memory

if {keep}:
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(40):
    torch.ones(2**24)  # 64 MiB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="glibc alone is told to keep memory"
)
def test_large_blocks_are_not_asked_of_the_kernel_again():
    def faults(keep):
        done = subprocess.run(
            [sys.executable, "-c", FAULTS.format(keep=keep)],
            capture_output=True,
            text=True,
            check=True,
        )
        return int(done.stdout)

    assert faults(keep=True) < faults(keep=False) / 4
