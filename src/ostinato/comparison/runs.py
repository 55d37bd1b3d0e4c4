"""Reads run and sweep folders for a comparison: what each run was, how it ended, and what its seeds are.

Reads only; a folder that is damaged or not finished becomes a run with a reason, never an omission.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ostinato.config import SeedsConfig
from ostinato.errors import ConfigError
from ostinato.record.drift import changed_config, environment_drift, without_observers
from ostinato.record.files import read_provenance, read_results
from ostinato.run_dir import RunDir, read_config
from ostinato.scoring.metrics import MINIMISED

STREAMS = tuple(SeedsConfig.__dataclass_fields__)

# Differ by right between configurations or seeds; the data are compared between runs of one seed.
_NO_WARNING = ("data", "tokens", "token_ids", "tokenizer", "attention", "precision")


@dataclass(frozen=True)
class Run:
    """What a run folder tells.

    Attributes:
        folder: the run folder.
        identity: its config without seeds and observers; empty when there is none.
        seeds: `seed` and those of `training.seeds` that were set.
        status: finished, failed, interrupted, or unfinished (killed, or running still).
        reason: why it did not finish.
        results: `results.json`, or nothing.
        provenance: `provenance.json`, or nothing.
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
        """The folder's name."""
        return self.folder.path.resolve().name

    @property
    def sample(self) -> str:
        """Its seeds as text: runs of different configurations with the same one form a pair."""
        named = [
            f"{name}={seed}" for name, seed in self.seeds.items() if name != "seed"
        ]
        return " ".join([str(self.seeds.get("seed", "?")), *named])

    @property
    def group(self) -> str:
        """Runs of one group differ in nothing but seeds."""
        return json.dumps(self.identity, sort_keys=True, default=str)

    def streams(self) -> dict[str, int | None]:
        """The seed that each stream draws from."""
        return {
            stream: self.seeds.get(stream, self.seeds.get("seed")) for stream in STREAMS
        }

    def score(self, metric: str) -> float | None:
        """A final metric such as val/accuracy; None without it."""
        split, name = metric.split("/", 1)
        value = (
            self.results.get(split, {}).get(name) if self.status == "finished" else None
        )
        return float(value) if isinstance(value, int | float) else None

    def is_collapsed(self, metric: str) -> bool:
        """Whether the metric is no better than always answering the commonest class (regression: the mean)."""
        split, name = metric.split("/", 1)
        majority = self.results.get(split, {}).get("majority", {})
        name = name if name in majority else next(iter(majority), name)
        score = self.score(f"{split}/{name}")
        if score is None or name not in majority:
            return False
        limit = float(majority[name])
        return score >= limit if name in MINIMISED else score <= limit


def find_runs(folders: Sequence[str]) -> list[Run]:
    """Reads every run in run folders and sweep folders, in the order given, jobs by their number.

    Raises:
        ConfigError: no such folder, or no run in it.
    """
    found: dict[Path, Run] = {}
    for text in folders:
        folder = Path(text)
        if not folder.is_dir():
            raise ConfigError([f"runs={text}: no such folder"])
        inside = (
            [folder]
            if _is_run(folder)
            else sorted(filter(_is_run, folder.iterdir()), key=_job_number)
        )
        if not inside:
            raise ConfigError(
                [
                    f"runs={text}: holds no run; give run folders, or sweep folders with jobs in them"
                ]
            )
        found |= {path.resolve(): _read(RunDir(path)) for path in inside}
    return list(found.values())


def _is_run(folder: Path) -> bool:
    return RunDir(folder).is_run


def _job_number(folder: Path) -> tuple[float, str]:
    number = folder.name.split("_")[0]
    return (float(number) if number.isdigit() else float("inf"), folder.name)


def _read(run: RunDir) -> Run:
    config, damaged = {}, ""
    provenance: dict[str, Any] = {}
    results: dict[str, Any] = {}
    try:
        config = read_config(run) if run.config.is_file() else {}
        if run.provenance.is_file():
            provenance = dict(read_provenance(run))
        if run.results.is_file():
            results = dict(read_results(run))
        damaged = "; ".join(
            f"{run.config.name} changed since the run: {line}"
            for line in changed_config(run)
        )
    except ConfigError as error:
        damaged = str(error)
    status = "failed" if damaged else results.get("status", "unfinished")
    unfinished = (
        f"no {run.results.name}: it was killed, or is running still"
        if status == "unfinished"
        else ""
    )
    reason = damaged or results.get("error", unfinished)
    training = config.get("training", {})
    seeds = {
        name: seed
        for name, seed in training.get("seeds", {}).items()
        if seed is not None
    }
    if "seed" in training:
        seeds = {"seed": training["seed"], **seeds}
    return Run(run, _identity(config), seeds, status, reason, results, provenance)


def _identity(config: Mapping[str, Any]) -> dict[str, Any]:
    if not config:
        return {}
    kept = without_observers(
        {name: value for name, value in config.items() if name != "seed"}
    )
    training = {
        name: value
        for name, value in kept.get("training", {}).items()
        if name not in ("seed", "seeds")
    }
    return kept | {"training": training}


def newest(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Keeps one run of each config and seed: a repetition adds no information. Finished ones first, then the newest.

    Returns:
        The runs that count, and a note for each other one.
    """
    kept: dict[tuple[str, str], Run] = {}
    notes = []
    for run in runs:
        key = (run.group, run.sample) if run.identity else (run.name, "")
        other = kept.get(key)
        if other is None or _age(run) >= _age(other):
            kept[key], other = run, other
        else:
            other = run
        if other is not None:
            notes.append(
                f"{other.name}: the same config and seed as {kept[key].name}, which is counted instead"
            )
    return list(kept.values()), notes


def _age(run: Run) -> tuple[bool, str, float]:
    return (
        run.status == "finished",
        run.results.get("started", ""),
        run.folder.path.stat().st_mtime,
    )


def names(runs: Sequence[Run]) -> dict[str, str]:
    """A name for each group: the config keys in which the groups differ, as typed, without the redundant ones."""
    flat = {run.group: dict(_flat(run.identity)) for run in runs}
    keys = list(dict.fromkeys(key for values in flat.values() for key in values))
    kept: list[str] = []
    for key in keys:
        known = {tuple(str(values.get(k)) for k in kept) for values in flat.values()}
        more = {
            tuple(str(values.get(k)) for k in (*kept, key)) for values in flat.values()
        }
        if len(more) > len(known):
            kept.append(key)
    everything = next((run.results.get("name", run.name) for run in runs), "")
    return {
        group: " ".join(f"{key}={values.get(key)}" for key in kept) or str(everything)
        for group, values in flat.items()
    }


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def warnings(runs: Sequence[Run]) -> list[str]:
    """What differs between runs beside their configs: code, packages, hardware, the data of one seed."""
    recorded = [run for run in runs if run.provenance]
    found: Counter[str] = Counter()
    data: dict[str, Any] = {}
    for run in recorded:
        found.update(
            str(drift)
            for drift in environment_drift(recorded[0].provenance, run.provenance)
            if drift.part not in _NO_WARNING
        )
        key = json.dumps(
            [run.identity.get("data"), run.seeds], sort_keys=True, default=str
        )
        first = data.setdefault(key, run.provenance.get("data"))
        if first != run.provenance.get("data"):
            found[f"the data of seed {run.sample} (same config, other content)"] += 1
    return [
        f"differs in {count} of {len(recorded)} runs: {line}"
        for line, count in found.items()
    ]
