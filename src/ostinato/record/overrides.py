"""Command lines that a run or sweep folder records, for `resume`. A folder can be a stranger's.

Only items that configure the training are taken over. An item that configures Hydra could set environment variables,
name a class or give a launcher shell commands.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from ostinato.errors import ConfigError
from ostinato.hydra_record import key_values
from ostinato.run_dir import RunDir

_OF_HYDRA = re.compile(r"[+]{0,2}hydra\b|[~-]")
# A resolver, or a name of one that is itself computed. The choices of groups are the project's own names.
_RESOLVER = re.compile(
    r"\$\{\s*(?!oc\.env:|hydra:runtime\.choices\.)[\w.]*\s*:|\$\{\s*\$\{"
)
_ENVIRONMENT = re.compile(r"\$\{\s*oc\.env:")
# Where a value from the environment stays on this machine, or goes where its owner sends it.
_TAKES_ENVIRONMENT = re.compile(
    r"data\.\w+_path=.*|tracker\.mlflow\.uri=\$\{oc\.env:MLFLOW_TRACKING_URI\}",
    re.DOTALL,
)
# What a sweep's command line can set of Hydra: the project's launchers and sweepers, numbers, ranges and plain names.
_SWEEPER = (
    r"sweeper\.(n_trials|n_jobs|max_batch_size|max_failure_rate|direction|study_name|sampler\.seed"
    r"|sampler\.n_startup_trials)"
)
_LAUNCHER = (
    r"launcher\.(n_jobs|batch_size|pre_dispatch|timeout_min|cpus_per_task|gpus_per_node|nodes|tasks_per_node|mem_gb"
    r"|array_parallelism|max_num_timeout|partition|account|qos|ray\.init\.address)"
)
_OF_SWEEP = re.compile(
    rf"[+]{{0,2}}hydra\.({_SWEEPER}|{_LAUNCHER}|verbose|job\.name)=[\w.,:-]*"
    r"|[+]{0,2}hydra\.sweeper\.params\.(training|model|data)\.[\w.]+=[^/]*"
    r"|hydra/launcher=(basic|joblib|ray|submitit_local|submitit_slurm)|hydra/sweeper=(basic|optuna)"
)


def of_run(folder: str, typed: list[str]) -> tuple[list[str], list[str]]:
    """The command line of a run that goes on.

    Args:
        folder: the run's folder.
        typed: what is typed beside `resume`; it replaces what the folder records for the same key.

    Returns:
        The recorded items, and a line for each address that the run sends its data to.

    Raises:
        ConfigError: no run folder, a damaged record, or an item that could read secrets of this machine.
    """
    try:
        recorded = RunDir.existing(folder).hydra_record.overrides()
    except ConfigError as error:
        raise ConfigError(
            [f"resume={folder}: not a run folder that can be resumed ({error})"]
        ) from None
    keys = {_key(item) for item in typed}
    replaces_trackers = "tracker" in keys
    own = [
        item
        for item in recorded
        if not _OF_HYDRA.match(item) and _key(item) not in keys
    ]
    left_out = ("resume", "tracker") if replaces_trackers else ("resume",)
    own = [item for item in own if _key(item).split(".")[0] not in left_out]
    _refuse(f"resume={folder}", own)
    return own, _addresses(f"resume={folder}", own)


def _addresses(where: str, items: list[str]) -> list[str]:
    """A line for each recorded address that a run sends its data to."""
    found = [
        item for item in items if _key(item).startswith("tracker") and "uri" in item
    ]
    return [f"{where}: sends its data to {item}" for item in found]


def of_sweep(record: Path) -> tuple[list[str], list[str]]:
    """The command line of a sweep that goes on, from Hydra's `multirun.yaml`, and its addresses; see `of_run`.

    Raises:
        ConfigError: a damaged record, or an item that could run code or read secrets of this machine.
    """
    try:
        overrides: Any = yaml.safe_load(record.read_text(encoding="utf-8"))["hydra"][
            "overrides"
        ]
        task, hydra = (
            key_values(overrides["task"], record),
            key_values(overrides["hydra"], record),
        )
    except (
        OSError,
        ValueError,
        RecursionError,
        yaml.YAMLError,
        KeyError,
        TypeError,
    ) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            [f"sweep=resume: {record} is damaged ({reason}); type the command with it"]
        ) from None
    hydra = [
        item
        for item in hydra
        if not item.startswith(("hydra.sweep.dir=", "hydra.mode="))
    ]
    refused = [item for item in hydra if not _OF_SWEEP.fullmatch(item)]
    refused += [item for item in task if _OF_HYDRA.match(item)]
    if refused:
        raise ConfigError(
            [
                f"sweep=resume: {record} records {item}; type the command with it"
                for item in refused
            ]
        )
    _refuse(f"sweep=resume: {record}", [*task, *hydra])
    return [*task, *hydra], _addresses(f"sweep=resume: {record}", task)


def _refuse(where: str, items: list[str]) -> None:
    problems = []
    for item in items:
        if _RESOLVER.search(item) or "_target_" in item:
            problems.append(
                f"{where}: its recorded {item} computes a value; type {_key(item)}=... with the command"
            )
        elif _ENVIRONMENT.search(item) and not _TAKES_ENVIRONMENT.fullmatch(item):
            problems.append(
                f"{where}: its recorded {item} reads a variable of this machine; type {_key(item)}=... with the command"
            )
    if problems:
        raise ConfigError(problems)


def _key(item: str) -> str:
    return item.split("=", 1)[0].lstrip("+~").strip()
