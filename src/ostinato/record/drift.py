"""The differences between two runs' records that can change a result.

The differences come in the order in which they explain a result best.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ostinato.record.decisive import without_observers
from ostinato.record.files import read_results
from ostinato.run_dir import RunDir, read_config

# Packages whose version can change numbers. Other packages do not count as drift.
DECISIVE_PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "numpy",
    "safetensors",
)

# Parts of provenance.json that decide numbers, the best explanation first. Command,
# git and platform decide none.
_ENVIRONMENT = (
    "data",
    "tokenizer",
    "tokens",
    "token_ids",
    "base",
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

# Digests of the tokens by two versions of this program. A run holds one of them, so
# each is compared only if both runs hold it.
_ONE_OF_TWO = ("tokens", "token_ids")

# Environment variables that decide numbers. The others name places or set `threads`.
DECISIVE_VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
)

_SHA256_LENGTH = 64
_SHOWN_LENGTH = 12


@dataclass(frozen=True)
class Drift:
    """One value that differs between two runs. As text: `training.lr: 0.01 -> 0.5`.

    Attributes:
        key: the key, with dots.
        old: the first run's value; None if the key is missing.
        new: the second run's value; None if the key is missing.
    """

    key: str
    old: Any
    new: Any

    @property
    def part(self) -> str:
        """The first name of the key: `data` for `data.train`."""
        return self.key.split(".", 1)[0]

    def __str__(self) -> str:
        old = _shorten(self.old)
        new = _shorten(self.new)
        return f"{self.key}: {old} -> {new}"


def config_drift(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Drift]:
    """Compares two configs.

    Args:
        first: a resolved config.
        second: another one.

    Returns:
        The values that differ and can change the result.
    """
    first = without_observers(first)
    second = without_observers(second)
    return list(_differences(first, second))


def changed_config(run: RunDir) -> list[Drift]:
    """Compares the `config.yaml` of a run that has ended with the config it ran with.

    Args:
        run: the run folder.

    Returns:
        The values that were changed in `config.yaml` after the run. Empty for a run
        that has not ended.

    Raises:
        ConfigError: `config.yaml` or `results.json` is damaged.
    """
    if not run.results.is_file():
        return []
    recorded = read_results(run).get("config")
    if recorded is None:
        return []
    # In JSON all keys are text.
    current = json.loads(json.dumps(read_config(run)))
    return config_drift(recorded, current)


def environment_drift(
    first: Mapping[str, Any], second: Mapping[str, Any]
) -> list[Drift]:
    """Compares what two runs ran on and with: data, packages, hardware, settings.

    Args:
        first: content of a `provenance.json`.
        second: content of another one.

    Returns:
        The values that differ and can change numbers, data first.
    """
    first = _decisive(first)
    second = _decisive(second)
    _drop_unrecorded_capability(first, second)
    found: list[Drift] = []
    for part in _ENVIRONMENT:
        in_both = part in first and part in second
        if part in _ONE_OF_TWO and not in_both:
            continue
        found += _differences({part: first.get(part)}, {part: second.get(part)})
        if part == "code":
            have_adapters = all(record["base"]["weights"] for record in (first, second))
            names = [*DECISIVE_PACKAGES, *(["peft"] if have_adapters else [])]
            found += _differences(_packages(first, names), _packages(second, names))
    return found


def _packages(provenance: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    packages = provenance.get("packages", {})
    return {"packages": {name: packages.get(name) for name in names}}


def _decisive(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Copies a provenance without the facts that cannot change a number.

    These are the index of a GPU among equal ones, their count, and places.
    """
    gpu = dict(provenance.get("gpu") or {})
    gpu.pop("count", None)
    if gpu.get("driver"):
        # Older records have a line for each GPU.
        gpu["driver"] = str(gpu["driver"]).split()[0]
    recorded = provenance.get("environment", {})
    variables = {
        name: value for name, value in recorded.items() if name in DECISIVE_VARIABLES
    }
    base = provenance.get("base") or {}
    return {
        **provenance,
        "base": {"weights": base.get("weights")},
        "device": str(provenance.get("device")).split(":")[0],
        "gpu": gpu or None,
        "environment": variables,
    }


def _drop_unrecorded_capability(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Removes the GPU's capability from both unless both have it; older ones do not."""
    gpus = [record["gpu"] or {} for record in (first, second)]
    if all("capability" in gpu for gpu in gpus):
        return
    for gpu in gpus:
        gpu.pop("capability", None)


def _differences(first: Any, second: Any, key: str = "") -> Iterator[Drift]:
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for name in dict.fromkeys([*first, *second]):
            inner = f"{key}.{name}" if key else str(name)
            yield from _differences(first.get(name), second.get(name), inner)
    elif first != second:
        yield Drift(key, first, second)


def _shorten(value: Any) -> str:
    """A value as text; a digest is cut to its first characters."""
    text = str(value)
    return text[:_SHOWN_LENGTH] if len(text) == _SHA256_LENGTH else text
