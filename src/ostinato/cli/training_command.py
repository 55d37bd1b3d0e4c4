"""The decorator `training_command`: a command that can resume, sweep and search."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ostinato import torchrun
from ostinato.cli.arguments import (
    find_override,
    is_sweep,
    only_prints,
    overrides_of,
    quote_existing_paths,
    value_of,
    with_overrides,
)
from ostinato.cli.command import (
    Entry,
    Job,
    check_arguments,
    command_process,
    run_with_hydra,
)
from ostinato.cli.composition import (
    compose_command,
    first_of_sweep,
    hydra_composition,
)
from ostinato.cli.interpolation import masked
from ostinato.cli.mistakes import find_problems
from ostinato.cli.presets import preset_resets, with_preset_resets
from ostinato.cli.resume import record_overrides, resumed_run, resumed_sweep
from ostinato.cli.terminal import one_line_errors
from ostinato.cli.validation import to_config
from ostinato.command_line import override
from ostinato.config import RunConfig
from ostinato.errors import ConfigError
from ostinato.run.session import check_new
from ostinato.run_dir import RunDir
from ostinato.sweep import jobs, sweep, tasks

log = logging.getLogger("ostinato")

Main = Callable[[RunConfig, RunDir, dict[str, Any]], float | None]


def training_command(main: Main) -> Entry:
    """Turns `main(config, run, resolved)` into the command `train`.

    Args:
        main: gets the validated config, the run folder, and the resolved config without
            secrets. It returns the metric that a search optimizes.
    """

    def entry() -> None:
        with command_process(), _processes_of_torchrun():
            argv = quote_existing_paths(sys.argv[1:])
            argv = _after_restart(argv)
            argv = resumed_sweep(argv)
            argv = resumed_run(argv)
            argv = with_preset_resets(argv)
            check_arguments("train", argv)
            job = TrainingJob(main)
            if is_sweep(argv):
                _run_sweep(argv, job)
            else:
                _check_run_folder(argv)
                run_with_hydra("train", argv, job)

    return entry


class TrainingJob(Job):
    """A single run, or one job of a sweep.

    In a sweep, a job that fails does not stop the others. Its folder records the error.
    """

    def __init__(self, main: Main) -> None:
        super().__init__("train", main)

    def _run(self, config: RunConfig, cfg: DictConfig) -> float | None:
        run = _run_folder()
        resolved = masked(cfg)
        if _in_sweep():
            if tasks.follows():
                _follow_task_0()
                return None
            return _run_sweep_job(config, run, resolved)
        try:
            return self._main(config, run, resolved)
        finally:
            record_overrides(run, resolved)

    def _fail(self, error: Exception, exit_code: int) -> None:
        if not _in_sweep():
            sys.exit(exit_code)
        # The job returns None, which a sweeper counts as a failed trial. It would stop
        # at NaN.
        jobs.record_failure(_run_folder(), error)


@contextmanager
def _processes_of_torchrun() -> Iterator[None]:
    """Process 0 runs the command. The others follow it, without Hydra."""
    place = torchrun.place()
    if place is None:
        yield
        return
    from ostinato.run.follow import follow_torchrun  # imports torch
    from ostinato.run.meeting import followers_end

    if place.rank > 0:
        follow_torchrun(place)
        sys.exit(0)
    with followers_end():
        yield


def _after_restart(argv: list[str]) -> list[str]:
    """Makes the command that was typed continue its run if torchrun restarts it.

    Raises:
        ConfigError: torchrun starts a sweep.
    """
    if torchrun.place() is None:
        return argv
    if is_sweep(argv):
        problem = "torchrun starts the processes of one run, not a sweep"
        remedy = "start the sweep without torchrun, with training.processes"
        raise ConfigError([f"{problem}; {remedy}"])
    from ostinato.run.meeting import meeting  # imports torch

    folder = meeting().folder
    if folder is None or find_override(overrides_of(argv), "resume.run") is not None:
        return argv
    return [*argv, override("resume", folder)]


def _in_sweep() -> bool:
    return HydraConfig.get().mode is RunMode.MULTIRUN


def _run_folder() -> RunDir:
    return RunDir(HydraConfig.get().runtime.output_dir)


def _run_sweep_job(
    config: RunConfig, run: RunDir, resolved: dict[str, Any]
) -> float | None:
    from ostinato.sweep import placement, search  # imports torch

    logs = OmegaConf.to_container(HydraConfig.get().job_logging, resolve=True)
    run_once = placement.job_runner(cast(dict[str, Any], logs))
    with tasks.leading():
        if config.search:
            return search.run_trial(run_once, config, run, resolved)
        return run_once(config, run, resolved)


def _follow_task_0() -> None:
    from ostinato.sweep import worker

    worker.follow_in_subprocess(tasks.join())


def _check_run_folder(argv: list[str]) -> None:
    """Checks `hydra.run.dir` before Hydra writes to it.

    Raises:
        ConfigError: the folder contains other files.
    """
    typed = find_override(overrides_of(argv), "hydra.run.dir")
    if typed is None or only_prints(argv):
        return
    folder = str(value_of(typed))
    if "${" in folder:
        return
    resumes = any(
        text.startswith("resume.run=") and text != "resume.run=null" for text in argv
    )
    check_new(Path(folder), resumes)


def _run_sweep(argv: list[str], job: TrainingJob) -> None:
    """Runs the jobs, and writes the tables of the sweep even if jobs fail."""
    folder, first = first_of_sweep(overrides_of(argv))
    argv = _with_sweep_folder(argv, folder)
    if first.search:
        from ostinato.sweep import search

        search.prepare_study(folder)
    jobs_code = _run_jobs(argv, job)
    tables_code = sweep.summarise(folder, first.compare)
    if first.search:
        search.report_best(folder, first.search.num_seeds)
    sys.exit(jobs_code or tables_code)


def _with_sweep_folder(argv: list[str], folder: Path) -> list[str]:
    if find_override(argv, "hydra.sweep.dir") is not None:
        return argv
    # Otherwise, Hydra would name the folder after the time at which it reads the key.
    # Absolute, because processes of a Ray cluster have other working folders.
    in_folder = override("hydra.sweep.dir", str(folder.absolute()))
    return with_overrides(argv, [*overrides_of(argv), in_folder])


def _run_jobs(argv: list[str], job: TrainingJob) -> int | str | None:
    """Runs the jobs of a sweep and returns the exit code."""
    try:
        with one_line_errors():
            run_with_hydra("train", argv, job)
    except SystemExit as stop:
        return stop.code
    except KeyboardInterrupt:
        return 130
    except Exception:  # from a launcher or a sweeper
        log.exception(
            "the sweep was stopped by an error in the program or in a library"
        )
        return 1
    return 0


def compose_run(overrides: list[str]) -> RunConfig:
    """Composes the config that scripts/train.py would use with these overrides.

    Raises:
        ConfigError: names every mistake in the overrides.
    """
    GlobalHydra.instance().clear()
    overrides = [*overrides, *preset_resets(overrides)]
    problems = find_problems("train", overrides, multirun=False)
    if problems:
        raise ConfigError([f"overrides: {problem}" for problem in problems])
    with hydra_composition():
        return to_config(compose_command("train", overrides), RunConfig)
