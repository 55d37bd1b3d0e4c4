"""Composes the overrides of a command line into a validated config."""

import copy
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from ostinato.cli.schemas import CONF, SCHEMAS
from ostinato.cli.validation import to_config
from ostinato.cli.variations import variations
from ostinato.config import RunConfig, Task
from ostinato.sweep import jobs, tasks


@functools.cache
def register_schemas() -> None:
    """Registers the config class of every command with Hydra."""
    store = ConfigStore.instance()
    for command, schema in SCHEMAS.items():
        name = "run_schema" if command == "train" else f"{command}_schema"
        store.store(name=name, node=schema)


@contextmanager
def hydra_composition(conf: Path = CONF) -> Iterator[None]:
    """A context in which configs can be composed without a command line."""
    with initialize_config_dir(version_base="1.3", config_dir=str(conf)):
        try:
            yield
        finally:
            HydraConfig.instance().cfg = None


def parse(text: str) -> Override:
    """Parses an override, within `hydra_composition`.

    Raises:
        HydraException, ValueError, RecursionError: the text is not an override.
    """
    override = OverridesParser.create().parse_override(text)
    # The loader finds the options that `glob(...)` matches.
    override.config_loader = GlobalHydra.instance().config_loader()
    return override


def compose_command(command: str, overrides: list[str]) -> DictConfig:
    """Composes a command's config, within `hydra_composition`.

    Raises:
        HydraException, OmegaConfBaseException: at the first mistake.
    """
    return _without_hydra(_compose(command, overrides))


def _compose(command: str, overrides: list[str]) -> DictConfig:
    cfg = compose(command, overrides=overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    return cfg


def _without_hydra(cfg: DictConfig) -> DictConfig:
    cfg = copy.deepcopy(cfg)
    OmegaConf.set_readonly(cfg, False)
    OmegaConf.set_struct(cfg, False)
    cfg.pop("hydra")
    return cfg


def first_of_sweep(overrides: list[str]) -> tuple[Path, RunConfig]:
    """Composes the first job of a sweep.

    Args:
        overrides: the overrides of the sweep, as typed.

    Returns:
        The folder of the sweep, with the current time in its name, and the config of
        the first job.
    """
    with hydra_composition():
        parsed = [parse(text) for text in overrides]
        first = next(variations(parsed))
        cfg = _compose("train", first.overrides)
        return _sweep_folder(cfg), to_config(_without_hydra(cfg), RunConfig)


def _sweep_folder(cfg: DictConfig) -> Path:
    return Path(str(OmegaConf.select(cfg, "hydra.sweep.dir")))


def job_folder(name: str, *, _root_: DictConfig) -> str:
    """The resolver `${job_folder:NAME}`: see `jobs.job_folder`.

    Only the first task of a job of several tasks writes to the job's folder.
    """
    if tasks.follows():
        return tasks.scratch_folder()
    config = to_config(_without_hydra(_root_), RunConfig)
    return jobs.job_folder(_sweep_folder(_root_), name, config)


def search_direction(monitor: str | None, task: str) -> str:
    """The resolver `${search_direction:MONITOR,TASK}`: see `search.direction`."""
    from ostinato.sweep import search  # imports torch

    return search.direction(monitor, Task(task))


def job_share(per_process: float, processes: int | str) -> float:
    """The resolver `${job_share:PER_PROCESS,PROCESSES}`: what a job's own task takes.

    Returns:
        The share of the process that it starts; 0 if it places several: see
        `placement`.
    """
    return 0 if isinstance(processes, int) and processes > 1 else per_process


# The resolvers are registered on import. The workers of a launcher import this module
# with the job, before Hydra needs the job's folder.
OmegaConf.register_new_resolver("search_direction", search_direction, replace=True)
OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)
OmegaConf.register_new_resolver("job_share", job_share, replace=True)
