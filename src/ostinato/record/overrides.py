"""Reads the command line that a run or sweep folder records, for `resume`.

A folder can come from a stranger. Only overrides that configure the training are
taken from it. An override that configures Hydra could set environment variables, name
a class or give a launcher shell commands.
"""

import re
from pathlib import Path
from typing import Any

from ostinato.errors import ConfigError
from ostinato.hydra_record import key_values
from ostinato.run_dir import RunDir
from ostinato.storage.parsing import parse_yaml

_OF_HYDRA = re.compile(r"[+]{0,2}hydra\b|[~-]")
# A resolver, or a resolver whose name is computed. The choices of groups are the
# project's own names.
_RESOLVER = re.compile(
    r"\$\{\s*(?!oc\.env:|hydra:runtime\.choices\.)[\w.]*\s*:|\$\{\s*\$\{"
)
_ENVIRONMENT = re.compile(r"\$\{\s*oc\.env:")
# Keys whose environment variable stays on this machine, or goes where its owner wants.
_TAKES_ENVIRONMENT = re.compile(
    r"data\.\w+_path=.*|tracker\.mlflow\.uri=\$\{oc\.env:MLFLOW_TRACKING_URI\}",
    re.DOTALL,
)
# What a sweep's command line can set in Hydra: the project's launchers and sweepers,
# numbers, ranges and plain names.
_SWEEPER = (
    r"sweeper\.(n_trials|n_jobs|max_batch_size|max_failure_rate|direction|study_name"
    r"|sampler\.seed|sampler\.n_startup_trials)"
)
_LAUNCHER = (
    r"launcher\.(n_jobs|batch_size|pre_dispatch|timeout_min|cpus_per_task"
    r"|gpus_per_node|nodes|tasks_per_node|mem_gb|array_parallelism|max_num_timeout"
    r"|partition|account|qos|ray\.init\.address)"
)
_OF_SWEEP = re.compile(
    rf"[+]{{0,2}}hydra\.({_SWEEPER}|{_LAUNCHER}|verbose|job\.name)=[\w.,:-]*"
    r"|[+]{0,2}hydra\.sweeper\.params\.(training|model|data)\.[\w.]+=[^/]*"
    r"|hydra/launcher=(basic|joblib|ray|submitit_local|submitit_slurm)"
    r"|hydra/sweeper=(basic|optuna)"
)
_SET_BY_RESUME = ("hydra.sweep.dir=", "hydra.mode=")
_TYPE_THE_COMMAND = "type the sweep's command after sweep=resume"


def for_run(folder: str, typed: list[str]) -> tuple[list[str], list[str]]:
    """Reads the overrides of a run that is resumed.

    Args:
        folder: the run folder.
        typed: the overrides typed beside `resume`. They replace recorded overrides of
            the same key.

    Returns:
        The recorded overrides, and a line for each address that the run sends its
        data to.

    Raises:
        ConfigError: the folder is not a run folder, its record is damaged, or a
            recorded override could read secrets of this machine.
    """
    where = f"resume={folder}"
    try:
        recorded = RunDir.existing(folder).hydra_record.overrides()
    except ConfigError as error:
        problem = f"{where}: is not a run folder that can be resumed ({error})"
        raise ConfigError([problem]) from None
    typed_keys = {_key(item) for item in typed}
    left_out = {"resume"}
    if "tracker" in typed_keys:
        left_out.add("tracker")
    kept = []
    for item in recorded:
        key = _key(item)
        group = key.split(".")[0]
        replaced = key in typed_keys or group in left_out
        if not replaced and not _OF_HYDRA.match(item):
            kept.append(item)
    _refuse_computed_values(where, kept)
    return kept, _addresses(where, kept)


def for_sweep(record: Path) -> tuple[list[str], list[str]]:
    """Reads the overrides of a sweep that is resumed.

    Args:
        record: Hydra's `multirun.yaml` in the sweep folder.

    Returns:
        The recorded overrides, and a line for each address that the runs send their
        data to.

    Raises:
        ConfigError: the record is damaged, or a recorded override could run code or
            read secrets of this machine.
    """
    where = f"sweep=resume: {record}"
    task, hydra = _read_sweep(where, record)
    hydra = [item for item in hydra if not item.startswith(_SET_BY_RESUME)]
    refused = [item for item in hydra if not _OF_SWEEP.fullmatch(item)]
    refused += [item for item in task if _OF_HYDRA.match(item)]
    problems = []
    for item in refused:
        reason = f"records {item}, which is not taken from a folder"
        problems.append(f"{where} {reason}; {_TYPE_THE_COMMAND}")
    if problems:
        raise ConfigError(problems)
    _refuse_computed_values(where, [*task, *hydra])
    return [*task, *hydra], _addresses(where, task)


def _read_sweep(where: str, record: Path) -> tuple[list[str], list[str]]:
    """Reads the overrides of the task and of Hydra."""
    try:
        content: Any = parse_yaml(record.read_text(encoding="utf-8"))
        overrides = content["hydra"]["overrides"]
        task = key_values(overrides["task"], record)
        hydra = key_values(overrides["hydra"], record)
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"{where} is damaged ({error}); {_TYPE_THE_COMMAND}"
        raise ConfigError([problem]) from None
    return task, hydra


def _addresses(where: str, items: list[str]) -> list[str]:
    """A line for each recorded address that a run sends its data to."""
    addresses = [
        item for item in items if _key(item).startswith("tracker") and "uri" in item
    ]
    return [f"{where}: sends its data to {address}" for address in addresses]


def _refuse_computed_values(where: str, items: list[str]) -> None:
    problems = []
    for item in items:
        remedy = f"give {_key(item)}=... on the command line"
        if _RESOLVER.search(item) or "_target_" in item:
            problems.append(f"{where}: the recorded {item} computes a value; {remedy}")
        elif _ENVIRONMENT.search(item) and not _TAKES_ENVIRONMENT.fullmatch(item):
            reason = "reads an environment variable"
            problems.append(f"{where}: the recorded {item} {reason}; {remedy}")
    if problems:
        raise ConfigError(problems)


def _key(item: str) -> str:
    return item.split("=", 1)[0].lstrip("+~").strip()
