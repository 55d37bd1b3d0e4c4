"""The end of a sweep, whatever happened in it, and going on with one that was killed. Runs no job itself.

A sweep's state is its jobs' folders. Nothing else is kept: killed at any point, the same command with the same
`hydra.sweep.dir`, or `sweep=resume` for the newest, completes it.
"""

import shlex
import sys
from pathlib import Path

from ostinato.command_line import override
from ostinato.config import ComparisonConfig
from ostinato.errors import ConfigError, UserError
from ostinato.record import overrides
from ostinato.redaction import shown

_RECORD = "multirun.yaml"  # Hydra writes it into each sweep's folder


def resumed(argv: list[str], parent: Path) -> list[str]:
    """`sweep=resume` stands for the folder of the newest sweep, and with nothing else typed for its command line.

    Args:
        argv: arguments as typed, `sweep=resume` among them.
        parent: folder of all sweeps.

    Raises:
        ConfigError: no sweep to go on with.
    """
    typed = [
        argument
        for argument in argv
        if argument not in ("sweep=resume", "-m", "--multirun")
    ]
    records = sorted(parent.glob(f"*/{_RECORD}"), key=lambda path: path.stat().st_mtime)
    if not records:
        raise ConfigError(
            [
                f"sweep=resume: {parent} holds no sweep to go on with; leave it out to start one"
            ]
        )
    folder = records[-1].parent
    if not typed:
        typed, notes = overrides.for_sweep(records[-1])
        sys.stderr.write("".join(f"{shown(note)}\n" for note in notes))
    return ["-m", *typed, override("hydra.sweep.dir", str(folder))]


def end(folder: Path, cfg: ComparisonConfig) -> int:
    """Compares what the jobs in a sweep's folder left: tables on the console; sweep.json, .md and .html beside them.

    Returns:
        Exit code: 0 when all jobs have finished, 1 when some have not, 2 when `cfg` names what is not there.
    """
    from ostinato.comparison.compare import compare_runs
    from ostinato.comparison.page import show, write
    from ostinato.comparison.runs import find_runs

    try:
        comparison = compare_runs(find_runs([str(folder)]), cfg)
        show(comparison)
        write(comparison, folder, "sweep")
    except UserError as error:
        sys.stderr.write(f"{shown(error)}\n")
        return 2
    points = [
        point
        for configuration in comparison.configurations
        for point in configuration.points
    ]
    missing = sum(point.status != "finished" for point in points)
    sys.stdout.write(f"sweep: {folder / 'sweep.html'}\n")
    if missing:
        where = override("hydra.sweep.dir", str(folder))
        sys.stdout.write(
            f"{missing} of {len(points)} jobs did not finish; the same command with {shlex.quote(where)}, "
            "or sweep=resume, goes on\n"
        )
    return 1 if missing else 0
