"""Kills some or all processes of a run with SIGKILL."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from ostinato.errors import ConfigError

WHOM = ("a follower", "all processes", "process 0")
_PROCESSES = Path("/proc")


def check_system(processes: list[int]) -> None:
    """Checks that the processes of a run can be found.

    Raises:
        ConfigError: this system does not list its processes.
    """
    if max(processes) > 1 and not (_PROCESSES / "self" / "stat").is_file():
        problem = "this system has no /proc, where the processes of a run are found"
        raise ConfigError([f"processes={processes}: {problem}; use processes=[1]"])


def kill(first: subprocess.Popen[bytes], whom: str) -> str:
    """Kills processes of a run.

    Args:
        first: process 0.
        whom: one of `WHOM`. A run that has no followers yet loses process 0.

    Returns:
        Whom it killed, for a message; empty if the run is a single process.
    """
    children = _children()
    # Process 0 starts a fork server, and this starts the followers.
    servers = children.get(first.pid, [])
    followers = [pid for server in servers for pid in children.get(server, [])]
    if whom == WHOM[0] and followers:
        victims = followers[-1:]
    elif whom == WHOM[1]:
        victims = [first.pid, *servers, *followers]
    else:
        victims, whom = [first.pid], WHOM[2]
    for pid in victims:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return f": {whom} of {len(followers) + 1}" if followers else ""


def _children() -> dict[int, list[int]]:
    """The children of each process, in the order of their ids."""
    children: dict[int, list[int]] = {}
    pids = sorted(int(path.name) for path in _PROCESSES.glob("[0-9]*"))
    for pid in pids:
        with suppress(OSError):
            stat = (_PROCESSES / str(pid) / "stat").read_text(errors="replace")
            parent = int(stat.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(pid)
    return children
