"""Resumes a sweep, and compares its jobs at its end. Runs no job itself.

The state of a sweep is the folders of its jobs. A sweep that was killed at any point
is completed by the same command with the same `hydra.sweep.dir`, or by `sweep=resume`
for the newest sweep.
"""

import shlex
import sys
from pathlib import Path

from ostinato.command_line import override
from ostinato.config import ComparisonConfig
from ostinato.errors import ConfigError, UserError
from ostinato.record import overrides
from ostinato.redaction import shown
from ostinato.run_dir import SweepDir

_NOT_OVERRIDES = ("sweep=resume", "-m", "--multirun")


def resume_arguments(argv: list[str], parent: Path) -> list[str]:
    """Replaces `sweep=resume` by the folder of the newest sweep.

    If no other override is typed, the recorded command line of that sweep is used.

    Args:
        argv: arguments as typed, with `sweep=resume` among them.
        parent: folder of all sweeps.

    Returns:
        The arguments that complete the sweep.

    Raises:
        ConfigError: there is no sweep to resume, or its record is damaged.
    """
    typed = [argument for argument in argv if argument not in _NOT_OVERRIDES]
    records = list(parent.glob(f"*/{SweepDir.HYDRA_RECORD}"))
    if not records:
        reason = f"{parent} holds no sweep to resume"
        remedy = "remove sweep=resume to start one"
        raise ConfigError([f"sweep=resume: {reason}; {remedy}"])
    newest = sorted(records, key=_modification_time)[-1]
    if not typed:
        typed, notes = overrides.for_sweep(newest)
        for note in notes:
            sys.stderr.write(f"{shown(note)}\n")
    return ["-m", *typed, override("hydra.sweep.dir", str(newest.parent))]


def _modification_time(path: Path) -> float:
    return path.stat().st_mtime


def summarise(folder: Path, cfg: ComparisonConfig) -> int:
    """Compares the jobs in a sweep's folder.

    Prints tables, and writes `sweep.json`, `sweep.md` and `sweep.html` into the
    folder.

    Args:
        folder: the sweep's folder.
        cfg: what to compare.

    Returns:
        Exit code: 0 if all jobs have finished, 1 if some have not, 2 if `cfg` names a
        metric or configuration that does not exist.
    """
    from ostinato.comparison.compare import compare_runs
    from ostinato.comparison.page import show, write
    from ostinato.comparison.runs import find_runs

    try:
        comparison = compare_runs(find_runs([str(folder)]), cfg)
        show(comparison)
        write(comparison, folder, SweepDir.TABLES)
    except UserError as error:
        sys.stderr.write(f"{shown(error)}\n")
        return 2
    statuses = []
    for configuration in comparison.configurations:
        statuses += [point.status for point in configuration.points]
    unfinished = len(statuses) - statuses.count("finished")
    sys.stdout.write(f"sweep: {shown(SweepDir(folder).page)}\n")
    if unfinished == 0:
        return 0
    where = shown(shlex.quote(override("hydra.sweep.dir", str(folder))))
    sys.stdout.write(
        f"{unfinished} of {len(statuses)} jobs did not finish; "
        f"to resume, run the same command with {where}, or with sweep=resume\n"
    )
    return 1
