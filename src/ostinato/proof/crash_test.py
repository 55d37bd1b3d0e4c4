"""Kills a training at random moments, resumes it, and compares it with a whole run.

The comparison has no tolerance. Every second kill waits until a checkpoint is being
written. The other kills come at any moment of a run. With several processes, the kills
reach one follower, all processes, or process 0, in turn.
"""

import itertools
import logging
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ostinato.command_line import override
from ostinato.config import CrashTestConfig
from ostinato.errors import ConfigError
from ostinato.proof.victims import WHOM, check_system, kill
from ostinato.record.difference import first_difference
from ostinato.record.files import read_fingerprint
from ostinato.record.fingerprint import read_steps
from ostinato.run_dir import RunDir
from ostinato.storage.atomic import write_text
from ostinato.storage.paths import possible_path

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.002
_MARK = ".crash_test"


@dataclass(frozen=True)
class Kill:
    """One run that was killed and resumed.

    Attributes:
        where: which processes were killed, and what the run was doing, by what its
            folder held; for each kill.
        difference: the first difference from the undisturbed run; empty if identical.
    """

    where: str
    difference: str


def crash_test(cfg: CrashTestConfig, train: Path) -> Iterator[Kill]:
    """Runs the training once undisturbed, then `cfg.kills` times with SIGKILL.

    Args:
        cfg: number of runs, of their processes, and the overrides of the training.
        train: the training script.

    Yields:
        Each killed run, after it was resumed and compared.

    Raises:
        ConfigError: a run fails, or `cfg.output` holds other files.
    """
    check_system(cfg.processes)
    moments = random.Random(cfg.seed)
    killed_starts, last_start = cfg.processes[:-1] or cfg.processes, cfg.processes[-1]
    output = Path(cfg.output)
    _empty(output)
    undisturbed = RunDir(output / "undisturbed")
    began = time.monotonic()
    _run_to_end(cfg, train, undisturbed, cfg.processes[0])
    seconds = time.monotonic() - began
    num_steps = len(read_steps(undisturbed.steps))
    log.info("undisturbed: %.0f s, %d steps", seconds, num_steps)
    expected = read_fingerprint(undisturbed)
    numbers = itertools.count()
    for number in range(cfg.kills):
        run = RunDir(output / f"kill_{number:03d}")
        where = []
        for processes in killed_starts:
            process = _start(cfg, train, run, processes)
            end = time.monotonic() + moments.uniform(0, seconds)
            whom = WHOM[next(numbers) % len(WHOM)]
            where.append(_kill(process, run, end, number % 2 == 1, whom))
        _run_to_end(cfg, train, run, last_start)
        difference = first_difference(expected, read_fingerprint(run))
        if difference is None:
            shutil.rmtree(run.path)
        yield Kill("; killed ".join(where), str(difference or ""))


def _empty(output: Path) -> None:
    """Removes the runs of an earlier crash test.

    The folder of a crash test has a mark. A folder without it must be empty.
    """
    possible_path("output", output)
    mark = output / _MARK
    if output.exists() and not output.is_dir():
        raise ConfigError([f"output={output}: is not a folder; give another one"])
    is_empty = not output.is_dir() or not any(output.iterdir())
    if not is_empty and not mark.is_file():
        reason = "holds files that are not of a crash test"
        raise ConfigError([f"output={output}: {reason}; give another folder"])
    for pattern in ("undisturbed*", "kill_[0-9][0-9][0-9]*"):
        for path in output.glob(pattern):
            _remove(path)
    output.mkdir(parents=True, exist_ok=True)
    write_text(mark, "scripts/crash_test.py empties this folder.\n")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _kill(
    process: subprocess.Popen[bytes],
    run: RunDir,
    end: float,
    while_saving: bool,
    whom: str,
) -> str:
    """Kills a run, and waits until it has ended.

    Args:
        process: process 0 of the run.
        run: the run folder.
        end: time at which to kill, of the monotonic clock.
        while_saving: kill while the run writes a checkpoint instead.
        whom: one of `WHOM`.

    Returns:
        What the run was doing, and which processes were killed.
    """
    while process.poll() is None:
        is_saving = any(run.checkpoints.glob(".*.tmp/*"))
        is_late = time.monotonic() > end
        is_due = is_saving if while_saving else is_late
        if is_due:
            killed = kill(process, whom)
            process.wait()
            return f"{_state(run)}{killed}"
        time.sleep(_POLL_SECONDS)
    return "after its end"


def _state(run: RunDir) -> str:
    """What a killed run was doing, by what its folder holds."""
    was_saving = any(run.checkpoints.glob(".*.tmp"))
    doing = "while writing a checkpoint" if was_saving else "while running"
    num_steps = len(read_steps(run.steps))
    return f"{doing}, after {num_steps} recorded steps"


def _run_to_end(cfg: CrashTestConfig, train: Path, run: RunDir, processes: int) -> None:
    process = _start(cfg, train, run, processes)
    code = process.wait()
    if code == 0:
        return
    printed = _console(run).read_text(encoding="utf-8")
    lines = printed.strip().splitlines()
    last = lines[-1] if lines else "?"
    problem = f"overrides: training ended with exit code {code}: {last}"
    raise ConfigError([problem])


def _start(
    cfg: CrashTestConfig, train: Path, run: RunDir, processes: int
) -> subprocess.Popen[bytes]:
    run.path.parent.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        str(train),
        *cfg.overrides,
        *([f"training.processes={processes}"] if cfg.processes != [1] else []),
        "resume=auto",
        override("hydra.run.dir", str(run.path)),
    ]
    with _console(run).open("ab") as console:
        return subprocess.Popen(command, stdout=console, stderr=console)


def _console(run: RunDir) -> Path:
    """The file with what a run prints, beside its folder."""
    return run.path.with_suffix(".log")
