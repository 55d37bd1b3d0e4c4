"""What differs between two runs' records, most telling first. Compares; judges nothing."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ostinato.run_dir import RunDir, read_config, read_json

# Keys that only observe: no value of theirs can change a weight or a metric.
OBSERVERS = (
    "name",
    "tracker",
    "resume",
    "compare",
    "report",
    "provenance",
    "search",
    "training.log_every",
    "training.checkpoint_every",
    "training.keep_checkpoints",
    "data.num_workers",
)

# Packages whose release can move numbers; the others are named, but don't count as drift.
DECISIVE_PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "numpy",
    "safetensors",
)

# Parts of provenance.json that decide numbers, most telling first. Left out on purpose: command, git, platform.
_ENVIRONMENT = (
    "data",
    "tokenizer",
    "tokens",
    "token_ids",
    "assets",
    "code",
    "device",
    "precision",
    "attention",
    "threads",
    "cpu",
    "gpu",
    "determinism",
    "python",
    "environment",
)

# Digests of the tokens by two versions of this program: a run holds one of them, and only like ones compare.
_EITHER = ("tokens", "token_ids")
# Environment variables that decide numbers. The others only name places, or act through `threads`.
_DECISIVE_VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
)


def config_drift(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Config values that differ and decide the result, as `key: old -> new`."""
    return list(_differences(without_observers(first), without_observers(second)))


def changed_config(run: RunDir) -> list[str]:
    """What somebody changed in the `config.yaml` of a run that has ended, as `key: old -> new`.

    Raises:
        ConfigError: `config.yaml` or `results.json` is damaged.
    """
    ended = read_json(run.results).get("config") if run.results.is_file() else None
    if not isinstance(ended, Mapping):
        return []
    return config_drift(
        ended, json.loads(json.dumps(read_config(run)))
    )  # in JSON all keys are texts


def environment_drift(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """What else differs between two `provenance.json` and can move numbers, as `key: old -> new`, data first."""
    found: list[str] = []
    first, second = _decisive(first), _decisive(second)
    if not all(
        "capability" in (record["gpu"] or {}) for record in (first, second)
    ):  # older records lack it
        for record in (first, second):
            (record["gpu"] or {}).pop("capability", None)
    for part in _ENVIRONMENT:
        if part in _EITHER and not (part in first and part in second):
            continue
        found += _differences({part: first.get(part)}, {part: second.get(part)})
        if part == "code":
            found += _differences(_packages(first), _packages(second))
    return found


def _packages(provenance: Mapping[str, Any]) -> dict[str, Any]:
    packages = provenance.get("packages", {})
    return {"packages": {name: packages.get(name) for name in DECISIVE_PACKAGES}}


def _decisive(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """A provenance without what cannot move a number: which of several equal GPUs, how many there are, places."""
    gpu = dict(provenance.get("gpu") or {})
    gpu.pop("count", None)
    if gpu.get("driver"):
        gpu["driver"] = str(gpu["driver"]).split()[
            0
        ]  # older records have a line for each GPU
    variables = provenance.get("environment", {})
    return {
        **provenance,
        "device": str(provenance.get("device")).split(":")[0],
        "gpu": gpu or None,
        "environment": {
            name: value
            for name, value in variables.items()
            if name in _DECISIVE_VARIABLES
        },
    }


def without_observers(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The part of a config that decides the result."""
    kept = {}
    for name, value in config.items():
        key = f"{prefix}{name}"
        if key not in OBSERVERS:
            kept[name] = (
                without_observers(value, f"{key}.")
                if isinstance(value, Mapping)
                else value
            )
    return kept


def _differences(first: Any, second: Any, key: str = "") -> Iterator[str]:
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for name in dict.fromkeys([*first, *second]):
            yield from _differences(
                first.get(name), second.get(name), f"{key}.{name}".lstrip(".")
            )
    elif first != second:
        yield f"{key}: {_shown(first)} -> {_shown(second)}"


def _shown(value: Any) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 else text  # a digest
