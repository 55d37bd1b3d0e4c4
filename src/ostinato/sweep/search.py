"""The trials of a search and what it found. Which values a trial gets is the sweeper's business.

A trial is one configuration under several seeds, each an ordinary run in the sweep's folder. It is scored on
validation alone. The same command suggests the same trials, so a killed search is completed by it.
"""

import math
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from ostinato.comparison.runs import Run, find_runs
from ostinato.config import RunConfig, Task
from ostinato.record.results import best_metric
from ostinato.run_dir import RunDir, SweepDir, read_config
from ostinato.scoring.metrics import MINIMISED, default_monitor, is_better
from ostinato.storage.atomic import write_text
from ostinato.sweep.jobs import job_folder

Job = Callable[[RunConfig, RunDir, dict[str, Any]], float | None]

_HEAD = "# @package _global_\n# Best of "
_OBSERVING = (
    "name",
    "seed",
    "tracker",
    "resume",
    "compare",
    "report",
    "provenance",
    "search",
)


def direction(monitor: str | None, task: Task) -> str:
    """What is good in a monitored metric: maximize or minimize."""
    return "minimize" if (monitor or default_monitor(task)) in MINIMISED else "maximize"


def begin(folder: Path) -> None:
    """Makes a sweep's folder ready for a study. An old one goes: the same command tells it anew, from finished jobs."""
    folder.mkdir(parents=True, exist_ok=True)
    SweepDir(folder).study.unlink(missing_ok=True)


def run_trial(
    job: Job, config: RunConfig, run: RunDir, resolved: dict[str, Any]
) -> float | None:
    """Runs a trial's seeds one after the other: `seed` in the given folder, those after it in folders beside it.

    Returns:
        Mean of the best monitored validation metrics; None when a seed failed, and the rest is not run.
    """
    values = []
    for offset in range(config.search.num_seeds if config.search else 1):
        value = job(*_with_seed(config, run, resolved, config.training.seed + offset))
        if value is None or math.isnan(
            value
        ):  # no evaluation defined the monitored metric
            return None
        values.append(value)
    return fmean(values)


def _with_seed(
    config: RunConfig, run: RunDir, resolved: dict[str, Any], seed: int
) -> tuple[RunConfig, RunDir, dict[str, Any]]:
    if seed == config.training.seed:
        return config, run, resolved
    config = replace(config, seed=seed, training=replace(config.training, seed=seed))
    resolved = resolved | {
        "seed": seed,
        "training": resolved["training"] | {"seed": seed},
    }
    sweep, name = run.path.parent, run.path.name.rpartition("_")[0]
    beside = RunDir(sweep / job_folder(sweep, name, config))
    run.hydra_record.copy_to(beside.hydra_record, [f"training.seed={seed}"])
    return config, beside, resolved


@dataclass(frozen=True)
class Best:
    """The best trial.

    Attributes:
        value: mean over its runs.
        monitor: the validation metric that it is the mean of.
        runs: one per seed.
        trials: how many trials finished.
    """

    value: float
    monitor: str
    runs: Sequence[Run]
    trials: int


def best_trial(folder: Path, num_seeds: int) -> Best | None:
    """The trial with the best mean validation metric; the first of several. None when none finished all its seeds."""
    trials: dict[str, list[Run]] = defaultdict(list)
    for run in find_runs([str(folder)]):
        if run.status == "finished":
            trials[run.group].append(run)
    whole = [
        sorted(runs, key=lambda run: run.seeds["seed"])
        for runs in trials.values()
        if len(runs) >= num_seeds
    ]
    best: Best | None = None
    for runs in whole:
        monitor = str(runs[0].results["monitor"])
        value = fmean(best_metric(run.results) for run in runs)
        if math.isnan(value):
            continue
        if best is None or is_better(monitor, value, best.value):
            best = Best(value, monitor, runs, len(whole))
    return best


def end(folder: Path, num_seeds: int) -> None:
    """Says what the search found; leaves it in the sweep's folder as `best_experiment.yaml`."""
    best = best_trial(folder, num_seeds)
    if best is None:
        sys.stdout.write("search: no trial finished, so there is no best one\n")
        return
    preset = SweepDir(folder).best_experiment
    if preset.exists() and not preset.read_text(
        encoding="utf-8", errors="replace"
    ).startswith(_HEAD):
        sys.stderr.write(
            f"{preset}: exists and was not written by a search; it is left as it is\n"
        )
        return
    write_preset(best, preset)
    sys.stdout.write(
        f"best of {best.trials} trials: validation {best.monitor} {best.value:.4f}, {best.runs[0].folder.path}\n"
        f"cp {preset} conf/experiment/ makes it experiment=best_experiment\n"
    )


def write_preset(best: Best, path: Path) -> None:
    """Writes the best trial's first run as an experiment preset: every value, so that the metric comes again exactly.

    The number of threads is written down as well: metrics on a CPU are bound to it, and a launcher shares threads out.
    """
    run = best.runs[0]
    values = {
        name: value
        for name, value in read_config(run.folder).items()
        if name not in _OBSERVING
    }
    values["training"] = values["training"] | {"threads": run.provenance["threads"]}
    preset: Mapping[str, Any] = {
        "defaults": [
            {f"override /{group}": run.folder.hydra_record.choices[group]}
            for group in ("training", "model", "data")
        ],
        "name": "${hydra:runtime.choices.experiment}",
        "seed": values["training"]["seed"],
        **values,
    }
    metrics = ", ".join(
        f"seed {r.seeds['seed']}: {best_metric(r.results)!r}" for r in best.runs
    )
    head = f"{_HEAD}{best.trials} trials by validation {best.monitor} ({metrics}).\n"
    write_text(path, head + yaml.safe_dump(preset, sort_keys=False, allow_unicode=True))
