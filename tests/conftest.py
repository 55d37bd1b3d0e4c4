"""Keeps tests off the network and out of the user's caches; a test that needs a hub serves one on the loopback."""

import atexit
import multiprocessing
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from ostinato.data.assets import cache_dir

_scratch = Path(tempfile.mkdtemp(prefix="ostinato-tests-"))
atexit.register(shutil.rmtree, _scratch, ignore_errors=True)

# Assets are verified by digest, so tests share the user's; rows, tokens and all of Hugging Face's start empty.
_assets = cache_dir() / "assets"
_assets.mkdir(parents=True, exist_ok=True)
(_scratch / "assets").symlink_to(_assets)
os.environ["OSTINATO_CACHE"] = str(_scratch)
os.environ["HF_HOME"] = str(
    _scratch / "huggingface"
)  # read once, when a Hugging Face library is imported
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault(
    "MKL_CBWR", "AUTO"
)  # read at the first product: a test's own would come before a run sets it
os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # tiny matrices, and commands that run side by side

# No test turns the machine off, so none needs to wait until the disk has a file.
os.fsync = lambda _: None

settings.register_profile(
    "ostinato", deadline=None
)  # a deadline would test the machine
settings.load_profile("ostinato")


def _stay_on_this_machine(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "socket.connect" or not isinstance(arguments[1], tuple):
        return  # a local socket's address is a path
    host = str(arguments[1][0])
    if host not in ("localhost", "::1") and not host.startswith("127."):
        raise RuntimeError(f"a test connects to {host}; tests stay on this machine")


sys.addaudithook(_stay_on_this_machine)


@pytest.fixture(scope="session")
def preloaded_fork_server() -> None:
    """Forks the fork server of other processes from one that has imported the libraries."""
    from preloaded import python

    multiprocessing.set_executable(python())
