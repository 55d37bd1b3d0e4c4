"""The keys and types of the JSON records that the program reads back.

A record may hold more keys. Only the keys that a reader uses are listed and checked.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import (
    Any,
    NotRequired,
    TypedDict,
    TypeVar,
    cast,
    get_args,
    get_type_hints,
    is_typeddict,
)

from pydantic import BaseModel, ValidationError, create_model

from ostinato.errors import ConfigError

Record = TypeVar("Record")


class RecordedStep(TypedDict):
    """One optimizer step in `fingerprint.json`."""

    step: int
    order: str
    loss: float
    grad_norm: float | None
    """None: fp16 skipped the step."""


class Base(TypedDict):
    """The base model of an adapter."""

    name: str
    revision: str | None
    weights: str
    """Digest of the weights that the adapter does not hold."""


class Identity(TypedDict):
    """What a run computes on and with; part of both provenance and fingerprint."""

    data: dict[str, str]
    tokenizer: NotRequired[str | None]
    token_ids: NotRequired[dict[str, str] | None]
    """Earlier versions recorded `tokens`, the key of the token cache, instead."""
    device: NotRequired[str]
    precision: NotRequired[str]
    attention: NotRequired[str | None]
    base: NotRequired[dict[str, Any]]
    """A `Base`, of a run with an adapter."""


class Fingerprint(Identity):
    """`fingerprint.json`: what a run computed."""

    initial_weights: str
    steps: list[RecordedStep]
    evaluations: dict[str, dict[str, Any]]
    weights: str
    best_weights: str
    best_files: NotRequired[dict[str, str]]
    """Digests of the files in `best/`; earlier versions recorded the weights only."""
    predictions: dict[str, str]


class Environment(TypedDict):
    """What a run runs on: code, packages, hardware and settings."""

    command: NotRequired[list[str]]
    git: NotRequired[dict[str, Any] | None]
    code: str
    python: NotRequired[str]
    platform: NotRequired[str]
    packages: dict[str, str]
    threads: int
    cpu: NotRequired[dict[str, Any] | None]
    gpu: NotRequired[dict[str, Any] | None]
    determinism: NotRequired[dict[str, Any]]
    environment: NotRequired[dict[str, str]]


class Provenance(Environment, Identity):
    """`provenance.json`: what a run ran on, and with which data."""

    assets: NotRequired[dict[str, dict[str, str]]]
    processes: NotRequired[dict[str, Any]]
    resumed: NotRequired[list[dict[str, Any]]]
    not_deterministic: NotRequired[list[str]]


class Results(TypedDict):
    """`results.json` of a run that ended in any way."""

    status: str
    name: NotRequired[str]
    error: NotRequired[str]
    config: NotRequired[dict[str, Any]]
    metrics: NotRequired[dict[str, list[dict[str, Any]]]]
    val: NotRequired[dict[str, Any]]
    test: NotRequired[dict[str, Any]]
    data: NotRequired[dict[str, Any]]
    labels: NotRequired[list[str]]
    started: NotRequired[str]
    seconds: NotRequired[float]


class FinishedResults(Results):
    """`results.json` of a run that finished."""

    monitor: str
    best_step: int
    validation: list[dict[str, Any]]


class Export(TypedDict):
    """`export.json`: the weights and files of an exported model."""

    weights: str
    files: dict[str, str]


def check_shape(path: Path, value: Mapping[str, Any], shape: type[Record]) -> Record:
    """Checks that a record has the required keys, and values of the listed types.

    Args:
        path: the record's file, for the message.
        value: the record.
        shape: one of the classes of this module.

    Returns:
        The same record.

    Raises:
        ConfigError: a key is missing, or its value has another type.
    """
    model = _model(cast(Any, shape))
    try:
        model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        reason = first["msg"][:1].lower() + first["msg"][1:]
        remedy = "restore the file, or create it again"
        raise ConfigError([f"{path}: damaged ({key}: {reason}); {remedy}"]) from None
    return cast(Record, value)


@cache
def _model(shape: Any) -> type[BaseModel]:
    """Makes a pydantic model of a TypedDict.

    Pydantic itself reads a `typing.TypedDict` from Python 3.12 only.
    """
    fields: dict[str, Any] = {}
    for key, hint in get_type_hints(shape).items():
        default = ... if key in shape.__required_keys__ else None
        fields[key] = (_checked_type(hint), default)
    return cast(type[BaseModel], create_model(shape.__name__, **fields))


def _checked_type(hint: Any) -> Any:
    """The type that pydantic checks: a model in place of a TypedDict in a list."""
    arguments = get_args(hint)
    if arguments and is_typeddict(arguments[0]):
        return list[_model(arguments[0])]  # type: ignore[misc]
    return hint
