"""Every mistake in a command line, in one line each.

Hydra stops at the first mistake and pydantic sees only what Hydra let through; here each override is looked at
alone, then the composition is tried without the wrong ones, then all values are validated together.
"""

import copy
import re
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ostinato import config as schemas
from ostinato.cli.composition import (
    SCHEMAS,
    compose_command,
    did_you_mean,
    documentation,
    first_line,
    groups,
    hydra_composition,
    masked,
    parse,
    plain,
    to_config,
    values_of,
    variations,
)
from ostinato.errors import ConfigError

_ONE_OPTION = (
    "model",
    "data",
    "training",
    "launcher",
    "search",
)  # a list of options makes sense in no other group
_FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
_LONGEST_NAME = 200  # bytes; file systems allow 255, and the folder's name adds the time or the job's number and digest


def find_problems(
    command: str, overrides: list[str], multirun: bool, values: bool = True
) -> list[str]:
    """Every mistake in a command line, one line each, in the order typed; empty when there is none.

    Args:
        command: name of the command.
        overrides: the overrides as typed.
        multirun: whether `-m` was typed.
        values: also validate the values of the composed config; without it, only whether it can be composed.
    """
    problems: list[str] = []
    parsed: list[Override] = []
    with hydra_composition():
        for text in overrides:
            try:
                override = parse(text)
                problem = _problem_of(override, text, SCHEMAS[command], multirun)
            except (
                HydraException,
                ValueError,
                RecursionError,
            ) as error:  # ValueError: an integer of 5,000 digits
                problem = f"{text}: not of the form key=value ({first_line(error)})"
            if problem:
                problems.append(problem)
            else:
                parsed.append(override)
        problems += (of_search := _problems_of_search(parsed, multirun))
        parsed = [
            override
            for override in parsed
            if not (of_search and override.key_or_group.startswith("search"))
        ]
        problems += _problems_of_variations(command, parsed, values)
    return [_one_line(problem) for problem in dict.fromkeys(problems)]


def _problems_of_variations(
    command: str, parsed: list[Override], values: bool
) -> list[str]:
    """Composes once for all values of a plain key, because a composition takes a tenth of a second."""
    problems: list[str] = []
    first: DictConfig | None = None
    copies: dict[str, DictConfig] = {}
    for variation in variations(parsed):
        changed = variation.changed
        if changed is None or first is None or not _is_plain(changed):
            found, cfg = _problems_together(command, variation.overrides, values)
            problems += found
            first = cfg if changed is None else first
            continue
        key = changed.split("=", 1)[0]
        if key not in copies:
            copies[key] = copy.deepcopy(first)
        try:
            OmegaConf.update(
                copies[key], key, parse(changed).value(), merge=False
            )  # as Hydra does it
        except OmegaConfBaseException as error:
            problems.append(f"{changed}: {plain(error)}{documentation(command, key)}")
            continue
        problems += _problems_of_values(command, copies[key]) if values else []
    return problems


def _is_plain(text: str) -> bool:
    """Whether an override only sets a value; not what chooses an option, or has a value that is merged."""
    key, _, value = text.partition("=")
    is_option = key in groups() or _option(text) is not None
    return not (
        is_option or key.startswith(("hydra", "+", "~")) or value.startswith("{")
    )


def _one_line(text: str) -> str:
    """The text with control characters, line ends among them, written as in Python: a quoted value may hold some."""
    return re.sub(
        r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda match: repr(match[0])[1:-1], text
    )


def _problem_of(
    override: Override, text: str, schema: type, multirun: bool
) -> str | None:
    key = override.key_or_group
    if key == "hydra.mode":
        return f"{text}: leave it out; -m makes a sweep"
    if key in _FOLDERS and override.value() in ("", None):
        return f"{text}: names no folder"
    if key.startswith("hydra") or override.is_delete():
        return None
    if override.is_sweep_override() and not multirun:
        return f"{text}: several values make a sweep; add -m"
    options = _options(key)
    if (
        override.is_sweep_override()
        and not (options and values_of(override))
        and "glob(" in text
    ):
        return f"{text}: glob(...) chooses among the options of a group, and finds none here"
    if options:
        return _problem_of_options(override, text, options)
    keys = [k for k, _, _ in schemas.fields(schema)]
    parents = (
        {k.rsplit(".", 1)[0] for k in keys if "." in k}
        if not override.is_add()
        else set()
    )
    if key in keys or key in parents or key.startswith("model.architecture."):
        return None
    return f"{text}: no such key{did_you_mean(key, [*keys, *groups()])}"


def _problem_of_options(
    override: Override, text: str, options: list[str]
) -> str | None:
    key = override.key_or_group
    for value in values_of(override):
        is_list = value.startswith("[")
        if is_list and key in _ONE_OPTION:
            return f"{text}: takes one {key}, not a list; there is {', '.join(options)}"
        names = (
            [name.strip() for name in value.strip("[]").split(",")]
            if is_list
            else [value]
        )
        wrong = next(
            (
                name
                for name in names
                if name not in options and not (is_list and name == "")
            ),
            None,
        )
        if wrong is not None:
            return f"{text}: no such {key}{did_you_mean(wrong, options)}; there is {', '.join(options)}"
        if problem := schemas.missing_plugin(key, names[0]):
            return problem
    return None


def _problems_of_search(overrides: list[Override], multirun: bool) -> list[str]:
    search = next(
        (str(o.input_line) for o in overrides if o.key_or_group == "search"),
        "search=null",
    )
    if search == "search=null":
        lost = [
            str(o.input_line) for o in overrides if o.key_or_group.startswith("search.")
        ]
        return [
            f"{text}: there is no search to set it for; add search=optuna"
            for text in lost
        ]
    if not multirun:
        return [f"{search}: a search is a sweep; add -m"]
    swept = [o for o in overrides if o.is_sweep_override()]
    seeds = [
        str(o.input_line) for o in swept if o.key_or_group in ("seed", "training.seed")
    ]
    if not swept and not any(
        o.key_or_group.startswith("hydra.sweeper.params") for o in overrides
    ):
        return [
            f"{search}: no range to search; give one, e.g. 'training.lr=tag(log,interval(1e-5,2e-4))'"
        ]
    return [
        f"{seed}: a search runs each trial under search.num_seeds seeds; set that instead"
        for seed in seeds
    ]


def _problems_together(
    command: str, overrides: list[str], values: bool
) -> tuple[list[str], DictConfig | None]:
    # OmegaConf asserts at a key of an option that was not chosen, such as tracker.mlflow.uri: they come last.
    optional = {text: chosen for text in overrides if (chosen := _option(text))}
    problems, cfg = _composed(
        command, [text for text in overrides if text not in optional]
    )
    if optional and cfg is not None:
        absent = {
            text
            for text, chosen in optional.items()
            if OmegaConf.select(cfg, ".".join(chosen)) is None
        }
        problems, cfg = _composed(
            command, [text for text in overrides if text not in absent]
        )
        for text in overrides:
            if text in absent:
                group, option = optional[text]
                problems.append(
                    f"{text}: there is no {option} to set it for; add it to {group}=[...]"
                )
    if cfg is not None and values:
        problems += _problems_of_values(command, cfg)
    return problems, cfg


def _problems_of_values(command: str, cfg: DictConfig) -> list[str]:
    try:
        config: Any = to_config(cfg, SCHEMAS[command])
    except ConfigError as error:
        return [
            *error.problems,
            *(_problems_of_name(cfg) if command == "train" else []),
        ]
    if not isinstance(config, schemas.RunConfig):
        return []
    architecture = masked(cfg)["model"]["architecture"]
    if "${oc.env:" in str(architecture):
        return [
            f"model.architecture={architecture}: is saved with the model; write it without oc.env"
        ]
    return [
        *schemas.missing_packages(config.tracker),
        *_problems_of_name(cfg),
    ]


def _problems_of_name(cfg: DictConfig) -> list[str]:
    try:
        problem = _problem_of_name(str(OmegaConf.select(cfg, "name")))
    except OmegaConfBaseException:
        return []  # `to_config` reports it
    typed = OmegaConf.to_container(cfg, resolve=False)["name"]  # type: ignore[index,call-overload]
    if "${oc.env:" in str(masked(cfg).get("name")):
        problem = "everybody can see it: write it without oc.env"
    return (
        [f"name={typed}: the run's folder is named after it; {problem}"]
        if problem
        else []
    )


def _problem_of_name(name: str) -> str | None:
    """Why the name of a run cannot be the end of its folder's name; None when it can."""
    if not name.strip():
        return "give it a letter at least"
    if not name.isprintable() or "/" in name or "\\" in name:
        return "leave out slashes, backslashes and control characters"
    if name.startswith("."):
        return "begin with another character than a dot"
    if len(name.encode()) > _LONGEST_NAME:
        return f"{len(name.encode())} bytes are too many, {_LONGEST_NAME} are allowed"
    return None


def _composed(
    command: str, overrides: list[str]
) -> tuple[list[str], DictConfig | None]:
    """What Hydra objects to, and the config without that; None when it does not name what it objects to."""
    problems: list[str] = []
    remaining = list(overrides)
    while True:
        try:
            return problems, compose_command(command, remaining)
        except Exception as error:  # Hydra and OmegaConf also raise ValueError, TypeError and AssertionError
            culprit = _culprit(error, remaining) or _culprit_by_trial(
                command, error, remaining
            )
            if culprit is None:
                return [*problems, first_line(error)], None
            problems.append(
                f"{culprit}: {plain(error)}{documentation(command, culprit.split('=')[0])}"
            )
            remaining.remove(culprit)


def _culprit_by_trial(
    command: str, error: Exception, overrides: list[str]
) -> str | None:
    """The override without which the composition works or fails otherwise."""
    for index, text in enumerate(overrides):
        try:
            compose_command(command, overrides[:index] + overrides[index + 1 :])
        except Exception as other:  # see `_composed`
            if str(other) == str(error):
                continue
        return text
    return None


def _option(text: str) -> tuple[str, str] | None:
    """(group, option) of an override such as group.option.key=value."""
    group, _, rest = text.split("=")[0].partition(".")
    option, _, key = rest.partition(".")
    return (group, option) if key and option in _options(group) else None


def _options(group: str) -> list[str]:
    return (
        GlobalHydra.instance().config_loader().get_group_options(group)
        if group in groups()
        else []
    )


def _culprit(error: Exception, overrides: list[str]) -> str | None:
    text = f"{error} {error.__cause__ or ''}"
    by_name = next((o for o in overrides if o in text), None)
    key = re.search(r"full_key: (\S+)", text)
    return by_name or next(
        (o for o in overrides if key and o.lstrip("+").split("=")[0] == key[1]), None
    )
