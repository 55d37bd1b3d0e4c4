"""Sweeps for tests, started as commands, and the processes of their jobs."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
SMALL = [
    *(
        "experiment=debug",
        "tracker=jsonl",
        "data.limit_train=60",
        "data.limit_val=30",
        "data.limit_test=30",
    ),
    *("training.epochs=1", "training.checkpoint_every=1"),
]


def start(folder, *arguments, program=sys.executable, **environment):
    """Starts a sweep; an environment variable that is None is unset."""
    command = [program, str(ROOT / "scripts" / "train.py"), *arguments]
    env = dict(os.environ)
    for name, value in environment.items():
        env.pop(name, None)
        if value is not None:
            env[name] = value
    return subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )


def wait_for(find, sweep):
    """What a function finds, once it finds something; the sweep must be running."""
    deadline = time.monotonic() + 300
    while not (found := find()):
        assert sweep.poll() is None, sweep.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return found


def trainer_of(job: Path) -> int | None:
    """The process that trains a job: forked by the server, with the job's log open."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            if b"multiprocessing.forkserver" not in command:
                continue
            opened = [file.readlink() for file in (process / "fd").iterdir()]
        except OSError:
            continue  # it has just ended
        if job / "train.log" in opened:
            return int(process.name)
    return None


def followers_of(trainer: int) -> list[int]:
    """The processes that share the training: forked by the server that it started."""
    servers = _children(trainer)
    return [process for server in servers for process in _children(server)]


def parent(process: int) -> int:
    """The number of the process that started a process."""
    status = Path(f"/proc/{process}/stat").read_text()
    # The name of the program, in brackets, can contain spaces.
    return int(status.rpartition(")")[2].split()[1])


def _children(process: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if parent(int(folder.name)) == process:
                found.append(int(folder.name))
        except OSError:
            continue  # it has just ended
    return found
