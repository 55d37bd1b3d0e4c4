"""The decorator `command`, which turns `main(config)` into a command of Hydra.

A user's mistakes are printed in one line each, with exit code 2, before anything runs.
"""

import atexit
import gc
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import hydra
from dotenv import dotenv_values, load_dotenv
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ostinato.cli.arguments import parse_arguments, quote_existing_paths
from ostinato.cli.composition import register_schemas
from ostinato.cli.help_text import help_text
from ostinato.cli.interpolation import mask_environment
from ostinato.cli.mistakes import find_problems
from ostinato.cli.schemas import CONF, SCHEMAS
from ostinato.cli.terminal import one_line_errors, print_lines, quiet_streams
from ostinato.cli.validation import to_config
from ostinato.config import RunConfig
from ostinato.errors import ConfigError, Interrupted, UserError
from ostinato.redaction import register_env_file
from ostinato.run_dir import RunDir, read_config

log = logging.getLogger("ostinato")

Main = Callable[..., float | None]
Entry = Callable[[], None]


def command(name: str) -> Callable[[Main], Entry]:
    """Turns `main(config)` into a command.

    Args:
        name: name of the command: its primary config in `conf/` and its config class.

    Returns:
        A decorator for `main`, which receives the validated config.
    """

    def decorate(main: Main) -> Entry:
        def entry() -> None:
            with command_process():
                argv = quote_existing_paths(sys.argv[1:])
                check_arguments(name, argv)
                run_with_hydra(name, argv, Job(name, main))

        return entry

    return decorate


@contextmanager
def command_process() -> Iterator[None]:
    """Prepares the process, and prints errors that occur outside of `main`."""
    # The process ends without a last garbage collection, which would take a second.
    atexit.register(gc.freeze)
    with quiet_streams(), one_line_errors():
        load_environment_file()
        register_schemas()
        yield


def load_environment_file() -> None:
    """Reads environment variables from the file .env of the project, if there is one.

    Their values are secrets: no output shows them.

    Raises:
        ConfigError: the file cannot be read.
    """
    file = CONF.parent / ".env"
    try:
        load_dotenv(file)
        register_env_file(dotenv_values(file))
    except (OSError, ValueError) as error:
        problem = f"{file}: cannot be read ({error}); save it in UTF-8, or remove it"
        raise ConfigError([problem]) from None


def check_arguments(name: str, argv: list[str]) -> None:
    """Prints the help, or every mistake in the arguments, and then exits.

    Returns if the help was not requested and the arguments have no mistakes.
    """
    arguments = parse_arguments(argv)
    if arguments.help:
        sys.stdout.write(help_text(name))
        sys.exit(0)
    if arguments.cfg:
        mask_environment()
    if arguments.hydra_help or arguments.shell_completion:
        return
    # A config that is only printed can have missing or invalid values.
    check_values = not (arguments.cfg or arguments.info)
    problems = find_problems(
        name, arguments.overrides, arguments.multirun, check_values
    )
    if problems:
        print_lines(problems)
        sys.exit(2)


def run_with_hydra(name: str, argv: list[str], job: "Job") -> None:
    """Has Hydra compose the config, set up the logging and call the job."""
    sys.argv[1:] = argv  # Hydra reads the arguments from here
    decorate = hydra.main(config_path=str(CONF), config_name=name, version_base="1.3")
    decorate(job)()


class Job:
    """The function that Hydra calls: validates the config and runs `main`."""

    def __init__(self, name: str, main: Main) -> None:
        self._schema = SCHEMAS[name]
        self._main = main

    def __call__(self, cfg: DictConfig) -> float | None:
        """Runs the command with a composed config.

        Returns:
            What `main` returns; None if it failed.
        """
        # On a full disk, each line for train.log would print a traceback.
        logging.raiseExceptions = False
        try:
            return self._run(to_config(cfg, self._schema), cfg)
        except BrokenPipeError:
            raise  # the reader of stdout has closed it
        except Interrupted as error:
            log.error("%s", error)
            sys.exit(error.exit_code)
        except UserError as error:
            log.error("%s", error)
            self._fail(error, error.exit_code)
        except Exception as error:
            log.exception("stopped by an error in the program or in a library")
            self._fail(error, 1)
        return None

    def _run(self, config: Any, cfg: DictConfig) -> float | None:
        return self._main(config)

    def _fail(self, error: Exception, exit_code: int) -> None:
        sys.exit(exit_code)


def load_run(path: str) -> tuple[RunDir, RunConfig]:
    """Opens a finished run and reads its config.

    Raises:
        ConfigError: the run does not exist, or its config has other keys or values than
            this version of the program supports.
    """
    run = RunDir.existing(path)
    try:
        cfg = OmegaConf.merge(OmegaConf.structured(RunConfig), read_config(run))
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            [f"{run.config}: is not a config of this version ({reason})"]
        ) from None
    return run, to_config(cast(DictConfig, cfg), RunConfig)
