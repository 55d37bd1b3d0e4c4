"""Groups runs that differ in their seeds only, and describes how groups differ."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from ostinato.comparison.runs import Run
from ostinato.record.drift import environment_drift

Config = Mapping[str, Any]

# These parts of the provenance may differ between configurations or seeds. Data are
# compared separately, between runs with the same seed.
_NO_WARNING = (
    *("data", "tokens", "token_ids", "tokenizer", "attention", "precision", "base"),
)


def newest(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Keeps one run for each config and seed, because a repetition adds no information.

    A finished run is preferred, then the newest one.

    Returns:
        The runs that count, and a note for each of the others.
    """
    kept: dict[tuple[str, str], Run] = {}
    notes = []
    for run in runs:
        key = (run.name, "")
        if run.identity:
            key = (run.group, run.sample)
        other = kept.get(key)
        if other is None:
            kept[key] = run
            continue
        counted, ignored = other, run
        if _preference(run) >= _preference(other):
            counted, ignored = run, other
        kept[key] = counted
        notes.append(
            f"{ignored.name}: has the same config and seed as {counted.name}; "
            f"only {counted.name} is counted"
        )
    return list(kept.values()), notes


def _preference(run: Run) -> tuple[bool, str, float]:
    is_finished = run.status == "finished"
    started = run.results.get("started", "")
    modified = run.folder.path.stat().st_mtime
    return is_finished, started, modified


def group_by_configuration(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Groups runs by their config without seeds, under a name for each group."""
    with_config = [run for run in runs if run.identity]
    names = _names(with_config)
    groups: dict[str, list[Run]] = {}
    for run in runs:
        default = f"{run.name} (no config)"
        name = names.get(run.group, default)
        groups.setdefault(name, []).append(run)
    return groups


def _names(runs: Sequence[Run]) -> dict[str, str]:
    """Names each group by the config keys in which the groups differ, as typed.

    A key that separates no further groups is omitted.
    """
    configs = {}
    for run in runs:
        flat = dict(_flatten(run.identity))
        configs[run.group] = flat
    keys = _separating_keys(list(configs.values()))
    names = {}
    for group, config in configs.items():
        words = [f"{key}={config.get(key)}" for key in keys]
        names[group] = " ".join(words)
    if not keys and runs:
        first = runs[0]
        only_name = first.results.get("name", first.name)
        names = dict.fromkeys(names, str(only_name))
    return names


def _separating_keys(configs: Sequence[Config]) -> list[str]:
    all_keys = dict.fromkeys(chain.from_iterable(configs))
    kept: list[str] = []
    num_separated = _num_distinct(configs, kept)
    for key in all_keys:
        num_with_key = _num_distinct(configs, [*kept, key])
        if num_with_key > num_separated:
            kept.append(key)
            num_separated = num_with_key
    return kept


def _num_distinct(configs: Sequence[Config], keys: Sequence[str]) -> int:
    """Counts the different combinations of values of these keys."""
    combinations = set()
    for config in configs:
        values = tuple(str(config.get(key)) for key in keys)
        combinations.add(values)
    return len(combinations)


def _flatten(config: Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the values of a nested config with dotted keys."""
    for name, value in config.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{key}.")
        else:
            yield key, value


def warnings(runs: Sequence[Run]) -> list[str]:
    """Describes what differs between runs besides their configs.

    This is code, packages, hardware, and the data of runs with the same seed.
    """
    recorded = [run for run in runs if run.provenance]
    counts: Counter[str] = Counter()
    data: dict[str, Any] = {}
    for run in recorded:
        for drift in environment_drift(recorded[0].provenance, run.provenance):
            if drift.part not in _NO_WARNING:
                counts[str(drift)] += 1
        key = _data_key(run)
        run_data = run.provenance.get("data")
        if data.setdefault(key, run_data) != run_data:
            seed = run.sample
            counts[f"the data of seed {seed} (same config, different content)"] += 1
    lines = []
    for difference, n in counts.items():
        share = f"{n} of {len(recorded)} runs"
        lines.append(f"differs in {share}: {difference}")
    return lines


def _data_key(run: Run) -> str:
    """Returns a text that is the same for runs that should have the same data."""
    parts = [run.identity.get("data"), run.seeds]
    return json.dumps(parts, sort_keys=True, default=str)
