"""The commands that test the program itself: `crash_test`, `reproduce`, `benchmark`."""

import dataclasses
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from ostinato.config.types import MISSING, STRICT, BenchmarkMode, Count, Seed, Workers

_ROWS = (10_000, 100_000, 1_000_000)


@dataclass(config=STRICT, kw_only=True)
class CrashTestConfig:
    """Kill a training at random moments, resume it, and compare bit for bit."""

    kills: Count = 20
    """How many runs are killed; every second one is killed while it writes a
    checkpoint.
    """
    processes: Annotated[list[Workers], Field(min_length=1)] = dataclasses.field(
        default_factory=lambda: [1]
    )
    """training.processes of each start. All starts but the last are killed; a single
    number is killed and resumed. With several processes, one follower, all processes
    or process 0 are killed, in turn.
    """
    seed: Seed = 0
    """Seed of the random moments."""
    overrides: list[str] = dataclasses.field(default_factory=list)
    """Overrides of the training, as for scripts/train.py."""
    output: str = "outputs/crash_test"
    """Folder for the runs: new, empty or from an earlier crash test. Identical runs are
    removed.
    """


@dataclass(config=STRICT, kw_only=True)
class BenchmarkConfig:
    """Measure the speed of the program on this machine."""

    mode: BenchmarkMode = BenchmarkMode.training
    """training, prepare, startup, tokenisation, memory, checkpoint, determinism or
    processes.
    """
    overrides: list[str] = dataclasses.field(default_factory=list)
    """Overrides of the training that is measured, as for scripts/train.py."""
    steps: Count = 8
    """Optimizer steps per turn; a peer that groups rows by length needs 50 or more to
    group them well.
    """
    turns: Count = 3
    """How many times to measure; measurements are medians over the turns."""
    rows: list[int] = dataclasses.field(default_factory=lambda: list(_ROWS))
    """Numbers of rows (memory)."""
    processes: list[Count] = dataclasses.field(default_factory=lambda: [1, 2])
    """Numbers of processes that share the micro-batches of a step (processes)."""
    peer: str | None = None
    """Another program to measure in turn (training): it takes --model, --data, --limit
    ... and prints one JSON line.
    """
    peer_options: list[str] = dataclasses.field(default_factory=list)
    """More options for the peer, e.g. peer_options=[--strategy,group_by_length]."""
    folder: str | None = None
    """Folder to write checkpoints to (checkpoint); null takes the system's temporary
    folder.
    """
    output: str | None = None
    """JSON file to write the measurements to as well."""


@dataclass(config=STRICT, kw_only=True)
class ReproduceConfig:
    """Repeat a run from the records in its folder, and compare bit for bit."""

    run: str = MISSING
    """Run folder to check."""
    against: str | None = None
    """Another finished run to compare with, instead of training."""
    until_step: Count | None = None
    """Compare only up to this optimizer step, as a quick check."""
    output: str = "outputs/reproduce"
    """Folder for the second run, which gets its own folder inside."""
