"""Kills a training at random moments, goes on with it, and compares with one that nobody stopped. No tolerance.

Every second kill waits for a checkpoint that is being written; the others come at any moment of a run's life.
"""

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
from ostinato.record.fingerprint import first_difference, read_steps
from ostinato.record.schema import Fingerprint
from ostinato.run_dir import RunDir, read_json
from ostinato.storage.atomic import write_text

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.002
_MARK = ".crash_test"


@dataclass(frozen=True)
class Kill:
    """One run that was killed and went on.

    Attributes:
        where: what it was doing, by what its folder held.
        difference: how it parted from the run that nobody stopped; empty when identical.
    """

    where: str
    difference: str


def crash_test(cfg: CrashTestConfig, train: Path) -> Iterator[Kill]:
    """Runs the training once undisturbed, then `cfg.kills` times with SIGKILL.

    Args:
        cfg: how often, with which overrides.
        train: the training script.

    Raises:
        ConfigError: the undisturbed run fails, or `cfg.output` holds something else.
    """
    moments = random.Random(cfg.seed)
    output = Path(cfg.output)
    _empty(output)
    whole = RunDir(output / "undisturbed")
    began = time.monotonic()
    _finish(cfg, train, whole)
    seconds = time.monotonic() - began
    log.info("undisturbed: %.0f s, %d steps", seconds, len(read_steps(whole.steps)))
    for number in range(cfg.kills):
        run = RunDir(output / f"kill_{number:03d}")
        where = _kill(
            cfg, train, run, moments.uniform(0, seconds), while_saving=number % 2 == 1
        )
        _finish(cfg, train, run)
        difference = first_difference(
            read_json(whole.fingerprint, Fingerprint),
            read_json(run.fingerprint, Fingerprint),
        )
        if difference is None:
            shutil.rmtree(run.path)
        yield Kill(where, "" if difference is None else str(difference))


def _empty(output: Path) -> None:
    """Removes the runs of an earlier crash test. Its folder has a mark; another one that holds anything is refused."""
    mark = output / _MARK
    if output.exists() and not output.is_dir():
        raise ConfigError([f"output={output}: is not a folder; give another one"])
    if output.is_dir() and any(output.iterdir()) and not mark.is_file():
        raise ConfigError(
            [
                f"output={output}: holds files that are not of a crash test; give another folder"
            ]
        )
    for path in [*output.glob("undisturbed*"), *output.glob("kill_[0-9][0-9][0-9]*")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    output.mkdir(parents=True, exist_ok=True)
    write_text(mark, "scripts/crash_test.py empties this folder.\n")


def _kill(
    cfg: CrashTestConfig, train: Path, run: RunDir, moment: float, while_saving: bool
) -> str:
    process = _start(cfg, train, run)
    end = time.monotonic() + moment
    while process.poll() is None:
        saving = any(run.checkpoints.glob(".*.tmp/*"))
        if (saving and while_saving) or (time.monotonic() > end and not while_saving):
            process.kill()
            process.wait()
            steps = len(read_steps(run.steps))
            saving = any(run.checkpoints.glob(".*.tmp"))
            return f"{'writing a checkpoint' if saving else 'running'} after {steps} recorded steps"
        time.sleep(_POLL_SECONDS)
    return "already at its end"


def _finish(cfg: CrashTestConfig, train: Path, run: RunDir) -> None:
    process = _start(cfg, train, run)
    if process.wait() != 0:
        lines = (
            run.path.with_suffix(".log")
            .read_text(encoding="utf-8")
            .strip()
            .splitlines()
        )
        raise ConfigError(
            [
                f"overrides: training ended with exit code {process.returncode}: {(lines or ['?'])[-1]}"
            ]
        )


def _start(cfg: CrashTestConfig, train: Path, run: RunDir) -> subprocess.Popen[bytes]:
    run.path.parent.mkdir(parents=True, exist_ok=True)
    with run.path.with_suffix(".log").open("ab") as console:
        return subprocess.Popen(
            [
                sys.executable,
                str(train),
                *cfg.overrides,
                "resume=auto",
                override("hydra.run.dir", str(run.path)),
            ],
            stdout=console,
            stderr=console,
        )
