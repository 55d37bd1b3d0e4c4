"""From command-line overrides to a validated config, or to every value that is wrong with it."""

import copy
import difflib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, cast

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc
from pydantic import TypeAdapter, ValidationError

from ostinato import config as schemas
from ostinato import redaction
from ostinato.errors import ConfigError
from ostinato.sweep import jobs

CONF = Path(__file__).parents[3] / "conf"
SCHEMAS: dict[str, type] = {
    "train": schemas.RunConfig,
    "evaluate": schemas.EvaluateConfig,
    "predict": schemas.PredictConfig,
    "export": schemas.ExportConfig,
    "report": schemas.ReportConfig,
    "reproduce": schemas.ReproduceConfig,
    "crash_test": schemas.CrashTestConfig,
    "benchmark": schemas.BenchmarkConfig,
    "compare": schemas.CompareConfig,
    "cache": schemas.CacheConfig,
}
_T = TypeVar("_T")


def register_schemas() -> None:
    """Tells Hydra the typed definitions."""
    store = ConfigStore.instance()
    for command, schema in SCHEMAS.items():
        name = "run_schema" if command == "train" else f"{command}_schema"
        store.store(name=name, node=schema)


def reference(command: str) -> list[tuple[str, str, str]]:
    """Every key of a command as (key, default, documentation)."""
    return list(schemas.fields(SCHEMAS[command]))


def help_text(command: str) -> str:
    """What `--help` shows. Hydra's own copies the whole schema once per group: half a second and more."""
    schema, keys = SCHEMAS[command], reference(command)
    width = max(len(key) for key, _, _ in keys)
    lines = [f"  {key:<{width}}  {doc} [{default}]" for key, default, doc in keys]
    options = {
        group: ", ".join(sorted(p.stem for p in (CONF / group).glob("*.yaml")))
        for group in sorted(groups())
    }
    listed = (
        ["Groups (group=option)", "", *(f"  {g}: {o}" for g, o in options.items()), ""]
        if command == "train"
        else []
    )
    usage = [
        f"{schema.__doc__}",
        "",
        f"  python scripts/{command}.py key=value ...",
        "",
    ]
    flags = (
        "--cfg job prints the composed config, --hydra-help the flags, -m runs a sweep."
    )
    return "\n".join(
        [
            *usage,
            *listed,
            "Keys [default; presets may differ]",
            "",
            *lines,
            "",
            flags,
            "",
        ]
    )


def compose_command(command: str, overrides: list[str]) -> DictConfig:
    """Composes a command's config, within `hydra_composition`.

    Raises:
        HydraException, OmegaConfBaseException: at the first mistake.
    """
    cfg = compose(command, overrides=overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    return _without_hydra(cfg)


def first_of_sweep(overrides: list[str]) -> tuple[Path, schemas.RunConfig]:
    """The folder of a sweep, its time stamp taken now, and the config of its first values."""
    with hydra_composition():
        parsed = [parse(text) for text in overrides]
        cfg = compose(
            "train",
            overrides=next(variations(parsed)).overrides,
            return_hydra_config=True,
        )
        HydraConfig.instance().set_config(cfg)
        folder = Path(str(OmegaConf.select(cfg, "hydra.sweep.dir")))
        return folder, to_config(_without_hydra(cfg), schemas.RunConfig)


def job_folder(name: str, *, _root_: DictConfig) -> str:
    """The resolver `${job_folder:NAME}`: see `jobs.job_folder`."""
    sweep = Path(str(OmegaConf.select(_root_, "hydra.sweep.dir")))
    return jobs.job_folder(
        sweep, name, to_config(_without_hydra(_root_), schemas.RunConfig)
    )


def search_direction(monitor: str | None, task: str) -> str:
    """The resolver `${search_direction:MONITOR,TASK}`: see `search.direction`."""
    from ostinato.sweep import search  # loads torch

    return search.direction(monitor, schemas.Task(task))


def _environment(name: str, *default: str | None) -> str | None:
    value = oc.env(name, *default)
    if name in os.environ:
        redaction.register(os.environ[name], "${oc.env:" + name + "}")
    return value


OmegaConf.register_new_resolver("oc.env", _environment, replace=True)
OmegaConf.register_new_resolver("search_direction", search_direction, replace=True)
# On import, for a launcher's workers: they load the job, and with it this module, before they ask for its folder.
OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)


def _without_hydra(cfg: DictConfig) -> DictConfig:
    cfg = copy.deepcopy(cfg)
    OmegaConf.set_readonly(cfg, False)
    OmegaConf.set_struct(cfg, False)
    cfg.pop("hydra")
    return cfg


def to_config(cfg: DictConfig, schema: type[_T]) -> _T:
    """Resolves and validates a composed config.

    Raises:
        ConfigError: every missing, unresolvable or impossible value.
    """
    command = next(c for c, s in SCHEMAS.items() if s is schema)
    raw = OmegaConf.to_container(cfg, resolve=False)
    problems: list[str] = []

    def unresolvable(key: str, value: str, error: Exception) -> Any:
        problems.append(f"{key}={value}: {plain(error)}{documentation(command, key)}")
        return _DROPPED

    values = _resolve(cfg, raw, "", unresolvable)
    problems += [
        f"{key} is missing{documentation(command, key)}" for key in _missing(raw)
    ]
    try:
        result: _T = TypeAdapter(schema).validate_python(values)
    except ValidationError as error:
        for item in error.errors():
            problem = _invalid(raw, command, item)
            if problem is not None:
                problems.append(problem)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return result


def _invalid(raw: Any, command: str, item: Any) -> str | None:
    parts = [str(p) for p in item["loc"]]
    if item["type"] == "value_error":
        return str(item["ctx"]["error"])
    known = [k for k, _, _ in schemas.fields(SCHEMAS[command])]
    while parts and ".".join(parts) not in known and len(parts) > 1:
        parts.pop()  # an item of a list, or a branch of a union
    key = ".".join(parts)
    node = raw
    for part in parts:
        node = node.get(part) if isinstance(node, dict) else None
    if node == "???" or (
        isinstance(node, str) and re.fullmatch(r"\$\{\w[\w.]*\}", node)
    ):
        return None  # reported as missing, or wrong where the link points to
    message = item["msg"].removeprefix("Input ").replace("should", "must")
    value = node.value if hasattr(node, "value") else node
    return f"{key}={value}: {message}{documentation(command, key)}"


def masked(cfg: DictConfig) -> dict[str, Any]:
    """The resolved config as plain data, in which what comes from the environment stays a `${oc.env:...}` reference."""
    with _environment_masked():
        # A number from the environment cannot take the mask's form: its reference stays as it is.
        return _resolve(
            cfg.copy(),
            OmegaConf.to_container(cfg, resolve=False),
            "",
            lambda key, value, error: value,
        )  # type: ignore[no-any-return]


_DROPPED = object()


def _resolve(
    cfg: DictConfig, raw: Any, key: str, on_error: Callable[[str, str, Exception], Any]
) -> Any:
    """Resolves interpolations leaf by leaf, so that one that fails leaves the others standing."""
    if isinstance(raw, dict):
        resolved = {
            n: _resolve(cfg, value, f"{key}.{n}".lstrip("."), on_error)
            for n, value in raw.items()
        }
        return {
            name: value for name, value in resolved.items() if value is not _DROPPED
        }
    if isinstance(raw, list):
        return [
            _resolve(cfg, value, f"{key}[{index}]", on_error)
            for index, value in enumerate(raw)
        ]
    value = raw
    if isinstance(raw, str) and "${" in raw:
        try:
            value = OmegaConf.select(cfg, key)
        except OmegaConfBaseException as error:
            return on_error(key, raw, error)
        value = (
            OmegaConf.to_container(value, resolve=True)
            if OmegaConf.is_config(value)
            else value
        )
    return value.value if isinstance(value, Enum) else value


def _missing(raw: Any, prefix: str = "") -> list[str]:
    if isinstance(raw, dict):
        return [
            key
            for name, value in raw.items()
            for key in _missing(value, f"{prefix}.{name}".lstrip("."))
        ]
    return [prefix] if raw == schemas.MISSING else []


@contextmanager
def _environment_masked() -> Iterator[None]:
    mask_environment()
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", _environment, replace=True)


def mask_environment() -> None:
    """Makes `${oc.env:NAME}` resolve to itself: for everything that is shown."""
    OmegaConf.register_new_resolver(
        "oc.env", lambda *a: "${oc.env:" + ",".join(map(str, a)) + "}", replace=True
    )


@contextmanager
def hydra_composition(conf: Path = CONF) -> Iterator[None]:
    """Within it, configs can be composed without a command line."""
    with initialize_config_dir(version_base="1.3", config_dir=str(conf)):
        try:
            yield
        finally:
            HydraConfig.instance().cfg = None


def groups() -> list[str]:
    """The config groups."""
    return [
        path.name for path in CONF.iterdir() if path.is_dir() and path.name != "hydra"
    ]


_PLAIN: list[tuple[str, Callable[[re.Match[str]], str]]] = [
    (r"could not be converted to Float", lambda m: "must be a number"),
    (r"could not be converted to Integer", lambda m: "must be a whole number"),
    (r"is not a valid bool", lambda m: "must be true or false"),
    (r"(Environment variable '.*' not found)", lambda m: m[1]),
    (
        r"Invalid value '(.*)', expected one of \[(.*)\]",
        lambda m: f"must be one of {m[2]}{did_you_mean(m[1], m[2].split(', '))}",
    ),
]


def plain(error: BaseException) -> str:
    """What Hydra or OmegaConf objects to, in a user's words."""
    text = f"{error} {error.__cause__ or ''}"
    for pattern, say in _PLAIN:
        match = re.search(pattern, text)
        if match:
            return say(match)
    return first_line(error.__cause__ or error)


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return (
        str(error).strip().splitlines()[0]
        if str(error).strip()
        else type(error).__name__
    )


def documentation(command: str, key: str) -> str:
    """The documentation of a key in brackets; empty for keys that are not there."""
    return next(
        (
            f" ({doc.rstrip('.')})"
            for k, _, doc in schemas.fields(SCHEMAS[command])
            if k == key
        ),
        "",
    )


def values_of(override: Override) -> list[str]:
    """The values that an override sweeps over, or its one."""
    if override.is_interval_sweep():
        ends = cast(IntervalSweep, override.value())
        return [str(ends.start), str(ends.end)]
    if not override.is_discrete_sweep():
        return [override.get_value_element_as_str()]
    return list(override.sweep_string_iterator())


def parse(text: str) -> Override:
    """Parses an override, within `hydra_composition`.

    Raises:
        HydraException, ValueError, RecursionError: not an override.
    """
    override = OverridesParser.create().parse_override(text)
    override.config_loader = (
        GlobalHydra.instance().config_loader()
    )  # looks up the options that glob(...) means
    return override


@dataclass(frozen=True)
class Variation:
    """A command line of a sweep with one value for each swept key.

    Attributes:
        overrides: the command line.
        changed: the one override that differs from the first variation; None in the first.
    """

    overrides: list[str]
    changed: str | None = None


def variations(overrides: list[Override]) -> Iterator[Variation]:
    """The command line with each swept value once: every value is looked at, not every combination."""
    typed = [(str(override.input_line), override) for override in overrides]
    fixed = [text for text, override in typed if not override.is_sweep_override()]
    swept = [
        [f"{text.split('=', 1)[0]}={v}" for v in values_of(o)]
        for text, o in typed
        if o.is_sweep_override()
    ]
    first = [choices[0] for choices in swept if choices]
    yield Variation([*fixed, *first])
    for index, choices in enumerate(choices for choices in swept if choices):
        for choice in choices[1:]:
            yield Variation(
                [*fixed, *first[:index], choice, *first[index + 1 :]], choice
            )


def did_you_mean(word: str, candidates: list[str]) -> str:
    """A question after the candidate that is most like the word; empty when none is."""
    near = difflib.get_close_matches(word, candidates, n=1, cutoff=0.5)
    if not near:  # `lr` for `training.lr`
        near = [
            c for c in candidates if c.rsplit(".", 1)[-1] == word.rsplit(".", 1)[-1]
        ][:1]
    return f"; did you mean {near[0]}?" if near else ""
