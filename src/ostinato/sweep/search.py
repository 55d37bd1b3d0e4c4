"""Runs the trials of a search and finds the best one. The sweeper chooses the values.

A trial is one configuration with several seeds. Each seed is an ordinary run in the
sweep's folder. A trial is scored on validation data only. The same command suggests
the same trials, so that it completes a killed search.
"""

import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from ostinato.comparison.runs import Run, find_runs
from ostinato.config import RunConfig, Task
from ostinato.record.results import best_metric
from ostinato.redaction import shown
from ostinato.run_dir import RunDir, SweepDir, read_config
from ostinato.scoring.metrics import MINIMISED, default_monitor, is_better
from ostinato.storage.atomic import write_text
from ostinato.sweep.jobs import Job, job_folder

_HEAD = "# @package _global_\n# Best of "
_NOT_IN_PRESET = (
    "name",
    "seed",
    "tracker",
    "resume",
    "compare",
    "report",
    "provenance",
    "search",
)
_CONFIG_GROUPS = ("training", "model", "data")


def direction(monitor: str | None, task: Task) -> str:
    """Returns the direction in which a monitored metric improves.

    Args:
        monitor: the metric; None takes the task's default.
        task: the task.

    Returns:
        maximize or minimize, as Optuna spells them.
    """
    metric = monitor or default_monitor(task)
    return "minimize" if metric in MINIMISED else "maximize"


def prepare_study(folder: Path) -> None:
    """Creates a sweep's folder and removes the study of an earlier search in it.

    The same command fills a new study with the same trials, from the finished jobs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    SweepDir(folder).study.unlink(missing_ok=True)


def run_trial(
    job: Job,
    config: RunConfig,
    run: RunDir,
    resolved: dict[str, Any],
) -> float | None:
    """Runs the seeds of a trial one after the other.

    Args:
        job: runs one seed.
        config: the trial's config.
        run: the folder of the first seed. The other seeds get folders beside it.
        resolved: the config as plain data.

    Returns:
        Mean of the best monitored validation metrics. None if a seed failed; later
        seeds are not run then.
    """
    num_seeds = config.search.num_seeds if config.search else 1
    values = []
    for offset in range(num_seeds):
        seed = config.training.seed + offset
        arguments = _with_seed(config, run, resolved, seed)
        value = job(*arguments)
        if value is None or math.isnan(value):
            return None  # NaN: no evaluation defined the monitored metric
        values.append(value)
    return fmean(values)


def _with_seed(
    config: RunConfig,
    run: RunDir,
    resolved: dict[str, Any],
    seed: int,
) -> tuple[RunConfig, RunDir, dict[str, Any]]:
    """Config, folder and plain config of one seed of a trial."""
    if seed == config.training.seed:
        return config, run, resolved
    training = replace(config.training, seed=seed)
    config = replace(config, seed=seed, training=training)
    plain_training = {**resolved["training"], "seed": seed}
    resolved = {**resolved, "seed": seed, "training": plain_training}
    sweep = run.path.parent
    name, _, _ = run.path.name.rpartition("_")
    beside = RunDir(sweep / job_folder(sweep, name, config))
    run.hydra_record.copy_to(beside.hydra_record, [f"training.seed={seed}"])
    return config, beside, resolved


@dataclass(frozen=True)
class Best:
    """The best trial.

    Attributes:
        value: mean of the monitored metric over its runs.
        monitor: the monitored validation metric.
        runs: one run per seed.
        trials: number of trials that finished.
    """

    value: float
    monitor: str
    runs: Sequence[Run]
    trials: int


def best_trial(folder: Path, num_seeds: int) -> Best | None:
    """Finds the trial with the best mean validation metric.

    Args:
        folder: the sweep's folder.
        num_seeds: number of seeds that a finished trial has.

    Returns:
        The first trial with the best mean; None if no trial finished all its seeds.
    """
    trials = _finished_trials(folder, num_seeds)
    best: Best | None = None
    for runs in trials:
        monitor = str(runs[0].results["monitor"])
        value = fmean(best_metric(run.results) for run in runs)
        if math.isnan(value):
            continue
        if best is None or is_better(monitor, value, best.value):
            best = Best(value, monitor, runs, len(trials))
    return best


def _finished_trials(folder: Path, num_seeds: int) -> list[list[Run]]:
    """The runs of each trial that finished all its seeds, in the order of seeds."""
    trials: dict[str, list[Run]] = defaultdict(list)
    for run in find_runs([str(folder)]):
        if run.status == "finished":
            trials[run.group].append(run)
    return [
        sorted(runs, key=lambda run: run.seeds["seed"])
        for runs in trials.values()
        if len(runs) >= num_seeds
    ]


def report_best(folder: Path, num_seeds: int) -> None:
    """Prints the best trial and writes it to `best_experiment.yaml` as a preset.

    Args:
        folder: the sweep's folder, which also gets the preset.
        num_seeds: number of seeds that a finished trial has.
    """
    best = best_trial(folder, num_seeds)
    if best is None:
        sys.stdout.write("search: no trial finished, so there is no best trial\n")
        return
    preset = SweepDir(folder).best_experiment
    if preset.exists() and not _is_from_search(preset):
        sys.stderr.write(
            f"{shown(preset)}: was not written by a search, so it is not overwritten\n"
        )
        return
    write_preset(best, preset)
    sys.stdout.write(
        f"best of {best.trials} trials: validation {best.monitor} {best.value:.4f}, "
        f"{shown(best.runs[0].folder.path)}\n"
        f"to use it: cp {shown(preset)} conf/experiment/, "
        "then experiment=best_experiment\n"
    )


def _is_from_search(preset: Path) -> bool:
    content = preset.read_text(encoding="utf-8", errors="replace")
    return content.startswith(_HEAD)


def write_preset(best: Best, path: Path) -> None:
    """Writes the best trial's first run as an experiment preset.

    The preset holds every value, so that a run of it gives the same metric exactly.
    It also holds the number of threads, because metrics on a CPU depend on it and a
    launcher divides the threads among its jobs.

    Args:
        best: the best trial.
        path: the file to write.
    """
    run = best.runs[0]
    values = {
        name: value
        for name, value in read_config(run.folder).items()
        if name not in _NOT_IN_PRESET
    }
    threads = run.provenance["threads"]
    training = {**values["training"], "threads": threads}
    values["training"] = training
    choices = run.folder.hydra_record.choices
    preset = {
        "defaults": [
            {f"override /{group}": choices[group]} for group in _CONFIG_GROUPS
        ],
        "name": "${hydra:runtime.choices.experiment}",
        "seed": training["seed"],
        **values,
    }
    content = yaml.safe_dump(preset, sort_keys=False, allow_unicode=True)
    write_text(path, _head(best) + content)


def _head(best: Best) -> str:
    """The comment at the top of a preset, with the metric of each seed."""
    metrics = []
    for run in best.runs:
        seed = run.seeds["seed"]
        metrics.append(f"seed {seed}: {best_metric(run.results)!r}")
    listed = ", ".join(metrics)
    return f"{_HEAD}{best.trials} trials by validation {best.monitor} ({listed}).\n"
