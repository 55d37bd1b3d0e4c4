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
from ostinato.fingerprint import first_difference, read_steps
from ostinato.run_dir import RunDir, read_json

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.002


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
        ConfigError: the undisturbed run fails.
    """
    moments = random.Random(cfg.seed)
    output = Path(cfg.output)
    shutil.rmtree(output, ignore_errors=True)
    whole = RunDir(output / "undisturbed")
    began = time.monotonic()
    _finish(cfg, train, whole)
    seconds = time.monotonic() - began
    log.info("undisturbed: %.0f s, %d steps", seconds, len(read_steps(whole.steps)))
    for number in range(cfg.kills):
        run = RunDir(output / f"kill_{number:03d}")
        where = _kill(cfg, train, run, moments.uniform(0, seconds), while_saving=number % 2 == 1)
        _finish(cfg, train, run)
        difference = first_difference(read_json(whole.fingerprint), read_json(run.fingerprint))
        if difference is None:
            shutil.rmtree(run.path)
        yield Kill(where, "" if difference is None else str(difference))


def _kill(cfg: CrashTestConfig, train: Path, run: RunDir, moment: float, while_saving: bool) -> str:
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
        lines = run.path.with_suffix(".log").read_text(encoding="utf-8").strip().splitlines()
        raise ConfigError([f"overrides: training ended with exit code {process.returncode}: {(lines or ['?'])[-1]}"])


def _start(cfg: CrashTestConfig, train: Path, run: RunDir) -> subprocess.Popen[bytes]:
    run.path.parent.mkdir(parents=True, exist_ok=True)
    with run.path.with_suffix(".log").open("ab") as console:
        return subprocess.Popen(
            [sys.executable, str(train), *cfg.overrides, "resume=auto", override("hydra.run.dir", str(run.path))],
            stdout=console,
            stderr=console,
        )
