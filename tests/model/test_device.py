"""glibc keeps large freed blocks for the next allocation."""

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


def page_faults(keep):
    code = FAULTS.format(keep=keep)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only glibc can keep freed memory"
)
def test_large_freed_blocks_are_used_again():
    assert page_faults(keep=True) < page_faults(keep=False) / 4
