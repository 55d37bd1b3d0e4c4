"""Reads run folders and sweep folders for a comparison.

A run that is damaged or not finished is kept, with a reason. Nothing is written.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ostinato.comparison.metric import Metric
from ostinato.config import SeedsConfig
from ostinato.errors import ConfigError
from ostinato.record.decisive import without_observers
from ostinato.record.drift import changed_config
from ostinato.record.files import read_provenance, read_results
from ostinato.run_dir import RunDir, read_config
from ostinato.storage.parsing import parse_json
from ostinato.storage.paths import possible_path

STREAMS = tuple(SeedsConfig.__dataclass_fields__)
"""Names of the seed streams."""


@dataclass(frozen=True)
class Run:
    """The records in a run folder.

    Attributes:
        folder: the run folder.
        identity: its config without seeds and observers; empty without a config.
        seeds: `seed`, and the seeds of `training.seeds` that were set.
        status: finished, failed, interrupted, or unfinished (killed, or still running).
        reason: why it did not finish.
        results: contents of `results.json`; empty without it.
        provenance: contents of `provenance.json`; empty without it.
    """

    folder: RunDir
    identity: dict[str, Any]
    seeds: dict[str, int]
    status: str
    reason: str
    results: dict[str, Any]
    provenance: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.folder.path.resolve().name

    @property
    def sample(self) -> str:
        """The seeds as text, e.g. `1 head=7`.

        Runs of different configurations with the same sample form a pair.
        """
        words = [str(self.seeds.get("seed", "?"))]
        for name, seed in self.seeds.items():
            if name != "seed":
                words.append(f"{name}={seed}")
        return " ".join(words)

    @property
    def group(self) -> str:
        """The identity as text. Runs of one group differ in their seeds only."""
        text = json.dumps(self.identity, default=str)  # numbers among keys become text
        return json.dumps(parse_json(text), sort_keys=True)

    @property
    def has_stream_seeds(self) -> bool:
        """Whether the seed of a single stream was set."""
        return not self.seeds.keys().isdisjoint(STREAMS)

    def streams(self) -> dict[str, int | None]:
        """Returns the seed that each stream uses."""
        default = self.seeds.get("seed")
        return {stream: self.seeds.get(stream, default) for stream in STREAMS}

    def score(self, metric: Metric) -> float | None:
        """Returns the final value of a metric; None if the run does not have it."""
        if self.status != "finished":
            return None
        metrics = self.results.get(metric.split, {})
        value = metrics.get(metric.name)
        if isinstance(value, int | float):
            return float(value)
        return None

    def is_collapsed(self, metric: Metric) -> bool:
        """Returns whether a metric is no better than that of a constant prediction.

        The constant prediction is the most frequent class, or the mean for regression.
        If it was not scored with this metric, its first metric decides.
        """
        metrics = self.results.get(metric.split, {})
        majority = metrics.get("majority", {})
        if metric.name not in majority:
            first_name = next(iter(majority), metric.name)
            metric = Metric(metric.split, first_name)
        score = self.score(metric)
        if score is None or metric.name not in majority:
            return False
        limit = float(majority[metric.name])
        if metric.higher_is_better:
            return score <= limit
        return score >= limit


def finished(runs: Iterable[Run]) -> list[Run]:
    """Returns the runs that finished."""
    return [run for run in runs if run.status == "finished"]


def find_runs(folders: Sequence[str]) -> list[Run]:
    """Reads all runs in run folders and sweep folders.

    The runs are in the order of the folders. The jobs of a sweep are in the order of
    their numbers.

    Raises:
        ConfigError: if a folder does not exist or contains no run.
    """
    found: dict[Path, Run] = {}
    for text in folders:
        folder = possible_path("runs", text)
        if not folder.is_dir():
            raise ConfigError([f"runs={text}: the folder does not exist"])
        run_folders = _run_folders(folder)
        if not run_folders:
            raise ConfigError(
                [
                    f"runs={text}: contains no run; "
                    "give run folders, or sweep folders with jobs in them"
                ]
            )
        for path in run_folders:
            found[path.resolve()] = _read(RunDir(path))
    return list(found.values())


def _run_folders(folder: Path) -> list[Path]:
    """Returns the folder itself if it is a run folder, otherwise its run folders."""
    if _is_run(folder):
        return [folder]
    jobs = filter(_is_run, folder.iterdir())
    return sorted(jobs, key=_job_number)


def _is_run(folder: Path) -> bool:
    return RunDir(folder).is_run


def _job_number(folder: Path) -> tuple[float, str]:
    number = folder.name.split("_")[0]
    if number.isdigit():
        return float(number), folder.name
    return float("inf"), folder.name


def _read(run: RunDir) -> Run:
    config: dict[str, Any] = {}
    provenance: dict[str, Any] = {}
    results: dict[str, Any] = {}
    try:
        if run.config.is_file():
            config = read_config(run)
        if run.provenance.is_file():
            provenance = dict(read_provenance(run))
        if run.results.is_file():
            results = dict(read_results(run))
        damage = _config_changes(run)
    except ConfigError as error:
        damage = str(error)
    status, reason = _ending(results, damage)
    return Run(
        folder=run,
        identity=_identity(config),
        seeds=_seeds(config),
        status=status,
        reason=reason,
        results=results,
        provenance=provenance,
    )


def _config_changes(run: RunDir) -> str:
    changes = []
    for line in changed_config(run):
        name = run.config.name
        changes.append(f"{name} changed since the run: {line}")
    return "; ".join(changes)


def _ending(results: Mapping[str, Any], damage: str) -> tuple[str, str]:
    """Returns the status of a run, and the reason if it did not finish."""
    if damage:
        return "failed", damage
    status = results.get("status", "unfinished")
    reason = ""
    if status == "unfinished":
        reason = "no results.json; the run was killed, or is still running"
    return status, results.get("error", reason)


def _seeds(config: Mapping[str, Any]) -> dict[str, int]:
    training = config.get("training", {})
    seeds = {}
    if "seed" in training:
        seeds["seed"] = training["seed"]
    stream_seeds = training.get("seeds", {})
    seeds |= {name: seed for name, seed in stream_seeds.items() if seed is not None}
    return seeds


def _identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config without its seeds and without what only observes."""
    if not config:
        return {}
    identity = dict(config)
    identity.pop("seed", None)
    identity = dict(without_observers(identity))
    training = dict(identity.get("training", {}))
    training.pop("seed", None)
    training.pop("seeds", None)
    # Earlier versions did not name it, and `without_observers` leaves it out.
    training.setdefault("optimizer", {"name": "adamw"})
    identity["training"] = training
    return identity
