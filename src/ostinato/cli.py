"""The door: one decorator turns `main(config, folder)` into a Hydra command.

A user's mistakes end with one line each and exit code 2, before a run folder is made. Beyond this module,
`composition` and `scripts/` nobody sees Hydra or OmegaConf.
"""

import logging
import sys
from collections.abc import Callable
from typing import Any, cast

import hydra
import yaml
from dotenv import load_dotenv
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ostinato.composition import (
    CONF,
    SCHEMAS,
    find_problems,
    help_text,
    mask_environment,
    masked,
    register_schemas,
    to_config,
)
from ostinato.config import RunConfig
from ostinato.errors import ConfigError, Interrupted, UserError
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
            load_dotenv(CONF.parent / ".env")
            register_schemas()
            if name == "train":
                sys.argv[1:] = _resumed(sys.argv[1:])
            _check(name, sys.argv[1:])
            job = _Job(name, main)
            hydra.main(config_path=str(CONF), config_name=name, version_base="1.3")(job)()
            sys.exit(job.exit_code)

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
        sys.stderr.write("".join(f"{problem}\n" for problem in problems))
        sys.exit(2)


def _resumed(argv: list[str]) -> list[str]:
    """`resume=FOLDER` stands for that run's own command line, in its own folder; `resume=auto` for this one's."""
    typed = [a.replace("resume=", "resume.run=", 1) if a.startswith("resume=") else a for a in argv]
    folder = next((a.split("=", 1)[1] for a in typed if a.startswith("resume.run=")), "auto")
    if folder == "auto":
        return typed
    try:
        recorded = yaml.safe_load(
            (RunDir.existing(folder).path / ".hydra" / "overrides.yaml").read_text(encoding="utf-8")
        )
    except (ConfigError, OSError, yaml.YAMLError) as error:
        sys.stderr.write(f"resume={folder}: not a run folder that can be resumed ({error})\n")
        sys.exit(2)
    own = [override for override in recorded if not override.startswith("resume")]
    return [*own, *typed, f"hydra.run.dir='{folder}'", "hydra.output_subdir=null"]


class _Job:
    """A command's `main`; in a sweep, a failing job lets the others run and is remembered in the exit code."""

    def __init__(self, name: str, main: Callable[..., float | None]) -> None:
        self._name = name
        self._main = main
        self.exit_code = 0

    def __call__(self, cfg: DictConfig) -> float | None:
        try:
            config: Any = to_config(cfg, SCHEMAS[self._name])
            if self._name != "train":
                return self._main(config)
            return self._main(config, RunDir(HydraConfig.get().runtime.output_dir), masked(cfg))
        except Interrupted as error:
            log.error("%s", error)
            sys.exit(error.exit_code)
        except UserError as error:
            log.error("%s", error)
            return self._failed(2)
        except Exception:
            log.exception("stopped by an error of the program or of a library")
            return self._failed(1)

    def _failed(self, exit_code: int) -> float:
        if HydraConfig.get().mode is not RunMode.MULTIRUN:
            sys.exit(exit_code)
        self.exit_code = exit_code
        return float("nan")


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
