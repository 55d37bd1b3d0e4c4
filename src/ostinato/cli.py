"""The door: one decorator turns `main(config, folder)` into a Hydra command.

A user's mistakes end with one line each and exit code 2, before a run folder is made. Beyond this module,
`composition`, `mistakes` and `scripts/` nobody sees Hydra or OmegaConf.
"""

import atexit
import gc
import logging
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import hydra
from dotenv import load_dotenv
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ostinato import jobs, recorded, sweep
from ostinato.composition import (
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
from ostinato.config import RunConfig
from ostinato.errors import ConfigError, Interrupted, UserError
from ostinato.mistakes import find_problems
from ostinato.redaction import shown
from ostinato.run_dir import RunDir, read_config

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
            atexit.register(gc.freeze)  # else a second goes into looking for garbage in what ends anyway
            load_dotenv(CONF.parent / ".env")
            register_schemas()
            if name == "train":
                sys.argv[1:] = _resumed(_resumed_sweep(sys.argv[1:]))
            _check(name, sys.argv[1:])
            run = hydra.main(config_path=str(CONF), config_name=name, version_base="1.3")(_Job(name, main))
            if name == "train" and _is_sweep(sys.argv[1:]):
                _sweep(run)
            else:
                run()

        return entry

    return decorate


def _check(name: str, argv: list[str]) -> None:
    arguments = get_args_parser().parse_args(argv)
    if arguments.help:
        sys.stdout.write(help_text(name))
        sys.exit(0)
    if arguments.cfg:
        mask_environment()
    if arguments.hydra_help or arguments.cfg or arguments.info or arguments.shell_completion:
        return
    problems = find_problems(name, arguments.overrides, arguments.multirun)
    if problems:
        sys.stderr.write("".join(f"{shown(problem)}\n" for problem in problems))
        sys.exit(2)


def _resumed(argv: list[str]) -> list[str]:
    """`resume=FOLDER` stands for that run's own command line, in its own folder; `resume=auto` for this one's."""
    typed = [a.replace("resume=", "resume.run=", 1) if a.startswith("resume=") else a for a in argv]
    folder = next((a.split("=", 1)[1] for a in typed if a.startswith("resume.run=")), "auto")
    if folder == "auto":
        return typed
    try:
        own, notes = recorded.of_run(folder, typed)
    except ConfigError as error:
        sys.stderr.write(f"{shown(error)}\n")
        sys.exit(2)
    sys.stderr.write("".join(f"{shown(note)}\n" for note in notes))
    return [*own, *typed, f"hydra.run.dir='{folder}'", "hydra.output_subdir=null"]


def _resumed_sweep(argv: list[str]) -> list[str]:
    try:
        return sweep.resumed(argv, first_of_sweep([])[0].parent) if "sweep=resume" in argv else argv
    except ConfigError as error:
        sys.stderr.write(f"{shown(error)}\n")
        sys.exit(2)


def _is_sweep(argv: list[str]) -> bool:
    arguments = get_args_parser().parse_args(argv)
    return bool(arguments.multirun) and not (arguments.cfg or arguments.info or arguments.hydra_help)


def _sweep(run: Callable[[], None]) -> None:
    """Runs the jobs; however they end, the sweep ends with its tables. What goes wrong in Hydra ends in SystemExit."""
    folder, first = first_of_sweep(get_args_parser().parse_args(sys.argv[1:]).overrides)
    if not any(argument.startswith("hydra.sweep.dir=") for argument in sys.argv):
        sys.argv.append(f"hydra.sweep.dir='{folder}'")  # Hydra would take the time again
    if first.search:
        from ostinato import search

        search.begin(folder)
    code: int | str | None = 0
    try:
        run()
    except SystemExit as stop:
        code = stop.code
    except KeyboardInterrupt:
        code = 130
    end = sweep.end(folder, first.compare)
    if first.search:
        search.end(folder, first.search.num_seeds)
    sys.exit(code or end)


class _Job:
    """A command's `main`; in a sweep, a failing job lets the others run and is remembered in its folder."""

    def __init__(self, name: str, main: Callable[..., float | None]) -> None:
        self._name = name
        self._main = main

    def __call__(self, cfg: DictConfig) -> float | None:
        try:
            config: Any = to_config(cfg, SCHEMAS[self._name])
            if self._name != "train":
                return self._main(config)
            run = RunDir(HydraConfig.get().runtime.output_dir)
            if HydraConfig.get().mode is RunMode.MULTIRUN:
                return _run_job(config, run, masked(cfg))
            return self._main(config, run, masked(cfg))
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


def _run_job(config: RunConfig, run: RunDir, resolved: dict[str, Any]) -> float | None:
    from ostinato import search, worker  # torch loads only when there is something to train

    logs = cast(dict[str, Any], OmegaConf.to_container(HydraConfig.get().job_logging, resolve=True))
    job = partial(jobs.run_once, partial(worker.train_apart, logs=logs))
    return search.run_trial(job, config, run, resolved) if config.search else job(config, run, resolved)


def compose_run(overrides: list[str]) -> RunConfig:
    """The config that scripts/train.py would run with these overrides; for commands that look no further at their own.

    Raises:
        ConfigError: whatever is wrong with them.
    """
    GlobalHydra.instance().clear()
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
        raise ConfigError([f"{run.config}: not a config of this version ({str(error).splitlines()[0]})"]) from None
    return run, to_config(cast(DictConfig, cfg), RunConfig)
