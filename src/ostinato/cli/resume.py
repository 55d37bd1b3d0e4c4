"""The command lines of runs and sweeps that resume."""

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException

from ostinato.cli.arguments import (
    find_override,
    overrides_of,
    value_of,
    with_overrides,
)
from ostinato.cli.composition import first_of_sweep
from ostinato.cli.terminal import print_lines
from ostinato.command_line import override
from ostinato.errors import ConfigError
from ostinato.record import overrides
from ostinato.run_dir import RunDir, read_config
from ostinato.sweep import sweep

_NO_HYDRA_RECORD = "hydra.output_subdir=null"


def resumed_sweep(argv: list[str]) -> list[str]:
    """Replaces `sweep=resume` with the command line of the newest sweep."""
    if "sweep=resume" not in argv:
        return argv
    new_folder, _ = first_of_sweep([])
    return sweep.resume_arguments(argv, new_folder.parent)


def resumed_run(argv: list[str]) -> list[str]:
    """Replaces `resume=FOLDER` with that run's own command line, in its own folder.

    `resume=auto` keeps the arguments, because the run resumes in the folder that they
    name.
    """
    argv = [_long_form(text) for text in argv]
    folder = _folder_to_resume(argv)
    if folder is None:
        return argv
    if folder == "auto":
        return _keep_record(argv)

    typed = overrides_of(argv)
    recorded, notes = overrides.for_run(folder, typed)
    print_lines(notes)
    in_folder = [override("hydra.run.dir", folder), _NO_HYDRA_RECORD]
    return with_overrides(argv, [*recorded, *typed, *in_folder])


def _long_form(text: str) -> str:
    if text.startswith("resume="):
        return text.replace("resume=", "resume.run=", 1)
    return text


def _folder_to_resume(argv: list[str]) -> str | None:
    """The folder to resume; `auto` if none is typed, None for `resume.run=null`."""
    text = find_override(argv, "resume.run")
    if text is None:
        return "auto"
    try:
        value = value_of(text)
    except (HydraException, ValueError, RecursionError):
        # A folder that does not exist, with characters that Hydra cannot read.
        return text.partition("=")[2]
    return None if value is None else str(value)


def _keep_record(argv: list[str]) -> list[str]:
    """Keeps Hydra from overwriting the record of a run that `resume=auto` resumes."""
    typed = find_override(argv, "hydra.run.dir")
    if typed is None or _NO_HYDRA_RECORD in argv:
        return argv
    run = RunDir(Path(str(value_of(typed))))
    has_record = run.began and run.hydra_record.exists
    if not has_record:
        return argv
    place = argv.index(typed) + 1
    return [*argv[:place], _NO_HYDRA_RECORD, *argv[place:]]


def record_overrides(run: RunDir, resolved: dict[str, Any]) -> None:
    """Records the command line of a resumed run, if it differs from the recorded one.

    Hydra's own record is the command line of the first session. Without this, the next
    `resume=` would use that one.
    """
    try:
        recorded = run.hydra_record.overrides()
        trained = read_config(run)
    except ConfigError:
        return  # a new run, which Hydra records, or a damaged record
    task = HydraConfig.get().overrides.task
    typed = [text for text in task if not text.lstrip("+").startswith("resume")]
    if typed != recorded and trained == resolved:
        run.hydra_record.replace_overrides(typed)
