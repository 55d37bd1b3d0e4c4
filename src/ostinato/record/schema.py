"""The shape of the JSON records that the program reads back: the keys that a reader relies on, and their types."""

import dataclasses
from typing import Any

from pydantic.dataclasses import dataclass


@dataclass(kw_only=True)
class StepRecord:
    """One optimizer step in `fingerprint.json`."""

    step: int
    order: str
    loss: float
    grad_norm: float | None  # None: fp16 skipped the step


@dataclass(kw_only=True)
class Fingerprint:
    """`fingerprint.json`: what a run computed."""

    data: dict[str, str]
    token_ids: dict[str, str] | None = (
        None  # earlier versions recorded `tokens`, the key of the cache
    )
    initial_weights: str
    steps: list[StepRecord]
    evaluations: dict[str, dict[str, Any]]
    weights: str
    best_weights: str
    predictions: dict[str, str]


@dataclass(kw_only=True)
class Provenance:
    """`provenance.json`: what a run ran on."""

    packages: dict[str, str]
    data: dict[str, str]
    code: str
    threads: int
    precision: str = ""
    gpu: dict[str, Any] | None = None
    cpu: dict[str, Any] | None = None
    git: dict[str, Any] | None = None
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    resumed: list[dict[str, Any]] = dataclasses.field(default_factory=list)


@dataclass(kw_only=True)
class Results:
    """`results.json` of a run that ended in any way."""

    status: str
    name: str = ""
    error: str = ""
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    metrics: dict[str, list[dict[str, Any]]] = dataclasses.field(default_factory=dict)
    val: dict[str, Any] = dataclasses.field(default_factory=dict)
    test: dict[str, Any] = dataclasses.field(default_factory=dict)
    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    labels: list[str] = dataclasses.field(default_factory=list)
    started: str = ""
    seconds: float = 0.0


@dataclass(kw_only=True)
class FinishedResults(Results):
    """`results.json` of a run that finished."""

    monitor: str
    best_step: int
    validation: list[dict[str, Any]]


@dataclass(kw_only=True)
class Export:
    """`export.json`: what an exported model was made from."""

    weights: str
    files: dict[str, str]
