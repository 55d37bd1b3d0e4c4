"""The door: one decorator turns `main(config, folder)` into a Hydra command.

A user's mistakes end with one line each and exit code 2, before a run folder is made. Beyond this module,
`composition`, `mistakes` and `scripts/` nobody sees Hydra or OmegaConf.
"""

import argparse
import atexit
import gc
import logging
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import hydra
from dotenv import load_dotenv
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ostinato.cli.composition import (
    CONF,
    SCHEMAS,
    compose_command,
    first_of_sweep,
    help_text,
    hydra_composition,
    mask_environment,
    masked,
    register_schemas,
    to_config,
)
from ostinato.cli.mistakes import find_problems
from ostinato.cli.presets import own_recipe
from ostinato.cli.terminal import one_line_errors, quiet_streams
from ostinato.command_line import override
from ostinato.config import RunConfig
from ostinato.errors import ConfigError, Interrupted, UserError
from ostinato.record import overrides
from ostinato.redaction import shown
from ostinato.run.session import check_new
from ostinato.run_dir import RunDir, read_config
from ostinato.sweep import jobs, sweep

log = logging.getLogger("ostinato")


def command(name: str) -> Callable[[Callable[..., float | None]], Callable[[], None]]:
    """Makes a Hydra command of `main(config, folder)`.

    Args:
        name: the primary config under `conf/`, which also chooses the typed definition.

    Returns:
        A decorator. `main` gets the validated config and, for training, the run folder; it returns what a sweep
        optimises.
    """

    def decorate(main: Callable[..., float | None]) -> Callable[[], None]:
        def entry() -> None:
            atexit.register(
                gc.freeze
            )  # else a second goes into looking for garbage in what ends anyway
            with quiet_streams(), one_line_errors():
                _load_environment()
                register_schemas()
                argv = _with_overrides(
                    sys.argv[1:],
                    [_as_typed(text) for text in _arguments(sys.argv[1:]).overrides],
                )
                sys.argv[1:] = (
                    _with_own_recipe(_resumed(_resumed_sweep(argv)))
                    if name == "train"
                    else argv
                )
                _check(name, sys.argv[1:])
                if name == "train" and not _is_sweep(sys.argv[1:]):
                    _check_folder(sys.argv[1:])
                run = hydra.main(
                    config_path=str(CONF), config_name=name, version_base="1.3"
                )(_Job(name, main))
                if name == "train" and _is_sweep(sys.argv[1:]):
                    _sweep(run)
                else:
                    run()

        return entry

    return decorate


def _load_environment() -> None:
    file = CONF.parent / ".env"
    try:
        load_dotenv(file)
    except (OSError, ValueError) as error:
        raise ConfigError(
            [
                f"{file}: cannot be read ({error}); make it a text file in UTF-8, or remove it"
            ]
        ) from None


def _check(name: str, argv: list[str]) -> None:
    arguments = _arguments(argv)
    if arguments.help:
        sys.stdout.write(help_text(name))
        sys.exit(0)
    shows = bool(arguments.cfg or arguments.info)
    if arguments.cfg:
        mask_environment()
    if arguments.hydra_help or arguments.shell_completion:
        return
    problems = find_problems(
        name, arguments.overrides, arguments.multirun, values=not shows
    )
    if problems:
        sys.stderr.write("".join(f"{shown(problem)}\n" for problem in problems))
        sys.exit(2)


def _check_folder(argv: list[str]) -> None:
    """Refuses a typed run folder that holds something else, before Hydra writes into it.

    Raises:
        ConfigError: the folder holds something else.
    """
    arguments = _arguments(argv)
    typed = next(
        (text for text in arguments.overrides if text.startswith("hydra.run.dir=")),
        None,
    )
    resumes = any(o.startswith("resume.run=") and o != "resume.run=null" for o in argv)
    if typed is None or arguments.cfg or arguments.info or arguments.hydra_help:
        return
    folder = str(OverridesParser.create().parse_override(typed).value())
    if "${" not in folder:
        check_new(Path(folder), resumes)


# Keys whose value is a path; one that exists may be typed as it is, whatever characters it holds.
_PATHS = {
    "run",
    "resume",
    "resume.run",
    "against",
    "path",
    "input",
    "output",
    "table",
    "folder",
    "model.name",
}
_PATHS |= {
    "data.train_path",
    "data.val_path",
    "data.test_path",
    "hydra.run.dir",
    "hydra.sweep.dir",
}


def _as_typed(argument: str) -> str:
    key, _, value = argument.partition("=")
    return (
        override(key, value)
        if key in _PATHS and value and os.path.lexists(value)
        else argument
    )


def _arguments(argv: list[str]) -> argparse.Namespace:
    return get_args_parser().parse_intermixed_args(
        argv
    )  # flags may be anywhere among the overrides


def _with_overrides(argv: list[str], overrides: list[str]) -> list[str]:
    """The arguments with other overrides, before the flags: Hydra wants them side by side."""
    flags = list(argv)
    for typed in _arguments(argv).overrides:
        flags.remove(typed)
    return [*overrides, *flags]


def _resumed(argv: list[str]) -> list[str]:
    """`resume=FOLDER` stands for that run's own command line, in its own folder; `resume=auto` for this one's."""
    typed = [
        f"resume.run={a.removeprefix('resume=')}" if a.startswith("resume=") else a
        for a in argv
    ]
    asked = next((a for a in typed if a.startswith("resume.run=")), "resume.run=auto")
    try:
        folder = str(OverridesParser.create().parse_override(asked).value())
    except (HydraException, ValueError, RecursionError):
        folder = asked.partition("=")[
            2
        ]  # a folder that does not exist, with characters that Hydra does not read
    if folder == "None":  # resume.run=null, as nothing typed
        return typed
    if folder == "auto":
        return _into_own_folder(typed)
    own, notes = overrides.for_run(folder, _arguments(typed).overrides)
    sys.stderr.write("".join(f"{shown(note)}\n" for note in notes))
    where = [override("hydra.run.dir", folder), "hydra.output_subdir=null"]
    return _with_overrides(typed, [*own, *_arguments(typed).overrides, *where])


def _into_own_folder(argv: list[str]) -> list[str]:
    """Keeps Hydra from rewriting the record of a run that `resume=auto` may go on with."""
    typed = next((text for text in argv if text.startswith("hydra.run.dir=")), None)
    if typed is None or "hydra.output_subdir=null" in argv:
        return argv
    folder = Path(str(OverridesParser.create().parse_override(typed).value()))
    run = RunDir(folder)
    if not (run.began and run.hydra_record.exists):
        return argv
    place = argv.index(typed) + 1
    return [*argv[:place], "hydra.output_subdir=null", *argv[place:]]


def _resumed_sweep(argv: list[str]) -> list[str]:
    return (
        sweep.resume_arguments(argv, first_of_sweep([])[0].parent)
        if "sweep=resume" in argv
        else argv
    )


def _with_own_recipe(argv: list[str]) -> list[str]:
    """Adds the defaults that replace what a model preset tuned, where `model.name` names another model."""
    added = own_recipe(_arguments(argv).overrides)
    if not added:
        return argv
    place = next(
        number
        for number, text in enumerate(argv)
        if text.lstrip("+").startswith("model.name=")
    )
    sys.stderr.write(
        f"{shown(argv[place])}: the preset was tuned for other weights; defaults are used: {' '.join(added)}\n"
    )
    return [*argv[: place + 1], *added, *argv[place + 1 :]]


def _is_sweep(argv: list[str]) -> bool:
    arguments = _arguments(argv)
    return bool(arguments.multirun) and not (
        arguments.cfg or arguments.info or arguments.hydra_help
    )


def _sweep(run: Callable[[], None]) -> None:
    """Runs the jobs; however they end, the sweep ends with its tables."""
    folder, first = first_of_sweep(_arguments(sys.argv[1:]).overrides)
    if not any(argument.startswith("hydra.sweep.dir=") for argument in sys.argv):
        # Hydra would take the time again.
        typed = _arguments(sys.argv[1:]).overrides
        sys.argv[1:] = _with_overrides(
            sys.argv[1:], [*typed, override("hydra.sweep.dir", str(folder))]
        )
    if first.search:
        from ostinato.sweep import search

        search.prepare_study(folder)
    code: int | str | None = 0
    try:
        with one_line_errors():
            run()
    except SystemExit as stop:
        code = stop.code
    except (
        Exception
    ):  # of a launcher or a sweeper: the jobs that finished are compared all the same
        log.exception(
            "the sweep was stopped by an error of the program or of a library"
        )
        code = 1
    except KeyboardInterrupt:
        code = 130
    end = sweep.summarise(folder, first.compare)
    if first.search:
        search.report_best(folder, first.search.num_seeds)
    sys.exit(code or end)


class _Job:
    """A command's `main`; in a sweep, a failing job lets the others run and is remembered in its folder."""

    def __init__(self, name: str, main: Callable[..., float | None]) -> None:
        self._name = name
        self._main = main

    def __call__(self, cfg: DictConfig) -> float | None:
        logging.raiseExceptions = (
            False  # on a full disk, each line for train.log would print a traceback
        )
        try:
            config: Any = to_config(cfg, SCHEMAS[self._name])
            if self._name != "train":
                return self._main(config)
            run = RunDir(HydraConfig.get().runtime.output_dir)
            if HydraConfig.get().mode is RunMode.MULTIRUN:
                return _run_job(config, run, masked(cfg))
            try:
                return self._main(config, run, masked(cfg))
            finally:
                _record_overrides(run, masked(cfg))
        except BrokenPipeError:
            raise  # nobody reads the output any more
        except Interrupted as error:
            log.error("%s", error)
            sys.exit(error.exit_code)
        except UserError as error:
            log.error("%s", error)
            self._failed(error, 2)
        except Exception as error:
            log.exception("stopped by an error of the program or of a library")
            self._failed(error, 1)
        return None  # a sweeper that optimises takes that for a failed trial, and stops at NaN

    def _failed(self, error: Exception, exit_code: int) -> None:
        if self._name != "train" or HydraConfig.get().mode is not RunMode.MULTIRUN:
            sys.exit(exit_code)
        jobs.record_failure(RunDir(HydraConfig.get().runtime.output_dir), error)


def _record_overrides(run: RunDir, resolved: dict[str, Any]) -> None:
    """Records the command line that a run has gone on with, where it is another than the recorded one.

    Hydra's own record is that of the first session, and the next `resume=` would go on with that.
    """
    try:
        recorded, trained = run.hydra_record.overrides(), read_config(run)
    except ConfigError:
        return  # a new run, whose command line Hydra records, or a damaged record
    own = [
        text
        for text in HydraConfig.get().overrides.task
        if not text.lstrip("+").startswith("resume")
    ]
    if own != recorded and trained == resolved:
        run.hydra_record.replace_overrides(own)


def _run_job(config: RunConfig, run: RunDir, resolved: dict[str, Any]) -> float | None:
    from ostinato.sweep import (
        search,
        worker,
    )  # torch loads only when there is something to train

    logs = cast(
        dict[str, Any],
        OmegaConf.to_container(HydraConfig.get().job_logging, resolve=True),
    )
    job = partial(jobs.run_once, partial(worker.train_in_subprocess, logs=logs))
    return (
        search.run_trial(job, config, run, resolved)
        if config.search
        else job(config, run, resolved)
    )


def compose_run(overrides: list[str]) -> RunConfig:
    """The config that scripts/train.py would run with these overrides; for commands that look no further at their own.

    Raises:
        ConfigError: whatever is wrong with them.
    """
    GlobalHydra.instance().clear()
    overrides = [*overrides, *own_recipe(overrides)]
    problems = find_problems("train", overrides, multirun=False)
    if problems:
        raise ConfigError([f"overrides: {problem}" for problem in problems])
    with hydra_composition():
        config: RunConfig = to_config(compose_command("train", overrides), RunConfig)
    return config


def load_run(path: str) -> tuple[RunDir, RunConfig]:
    """Opens a finished run and reads back its config.

    Raises:
        ConfigError: no such run, or a config that this version does not understand.
    """
    run = RunDir.existing(path)
    try:
        cfg = OmegaConf.merge(OmegaConf.structured(RunConfig), read_config(run))
    except OmegaConfBaseException as error:
        raise ConfigError(
            [
                f"{run.config}: not a config of this version ({str(error).splitlines()[0]})"
            ]
        ) from None
    return run, to_config(cast(DictConfig, cfg), RunConfig)
