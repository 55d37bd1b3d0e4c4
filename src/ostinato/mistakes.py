"""Every mistake in a command line, said in one line each.

Hydra stops at the first mistake and pydantic sees only what Hydra let through; here each override is looked at
alone, then the composition is tried without the wrong ones, then all values are validated together.
"""

import re
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ostinato import config as schemas
from ostinato.composition import (
    SCHEMAS,
    compose_command,
    did_you_mean,
    documentation,
    first_line,
    groups,
    hydra_composition,
    masked,
    plain,
    to_config,
    values_of,
    variations,
)
from ostinato.errors import ConfigError


def find_problems(command: str, overrides: list[str], multirun: bool) -> list[str]:
    """Every mistake in a command line, one line each, in the order typed; empty when there is none."""
    problems: list[str] = []
    parsed: list[Override] = []
    with hydra_composition():
        for text in overrides:
            try:
                override = OverridesParser.create().parse_override(text)
            except HydraException as error:
                problems.append(f"{text}: not of the form key=value ({first_line(error)})")
                continue
            problem = _problem_of(override, text, SCHEMAS[command], multirun)
            if problem:
                problems.append(problem)
            else:
                parsed.append(override)
        problems += (of_search := _problems_of_search(parsed, multirun))
        parsed = [override for override in parsed if not (of_search and override.key_or_group.startswith("search"))]
        for variation in variations(parsed):
            problems += [p for p in _problems_together(command, variation) if p not in problems]
    return problems


def _problem_of(override: Override, text: str, schema: type, multirun: bool) -> str | None:
    key = override.key_or_group
    if key.startswith("hydra") or override.is_delete():
        return None
    if override.is_sweep_override() and not multirun:
        return f"{text}: several values make a sweep; add -m"
    options = _options(key)
    if options:
        names = [n for v in values_of(override) for n in (v.strip("[]").split(",") if v.startswith("[") else [v])]
        wrong = next((n.strip() for n in names if n.strip() not in ["", *options]), None)  # [] is none
        if wrong is None:
            return schemas.missing_plugin(key, names[0])
        return f"{text}: no such {key}{did_you_mean(wrong, options)}; there is {', '.join(options)}"
    keys = [k for k, _, _ in schemas.fields(schema)]
    parents = {k.rsplit(".", 1)[0] for k in keys if "." in k} if not override.is_add() else set()
    if key in keys or key in parents or key.startswith("model.architecture."):
        return None
    return f"{text}: no such key{did_you_mean(key, [*keys, *groups()])}"


def _problems_of_search(overrides: list[Override], multirun: bool) -> list[str]:
    search = next((str(o.input_line) for o in overrides if o.key_or_group == "search"), "search=null")
    if search == "search=null":
        lost = [str(o.input_line) for o in overrides if o.key_or_group.startswith("search.")]
        return [f"{text}: there is no search to set it for; add search=optuna" for text in lost]
    if not multirun:
        return [f"{search}: a search is a sweep; add -m"]
    swept = [o for o in overrides if o.is_sweep_override()]
    seeds = [str(o.input_line) for o in swept if o.key_or_group in ("seed", "training.seed")]
    if not swept and not any(o.key_or_group.startswith("hydra.sweeper.params") for o in overrides):
        return [f"{search}: no range to search; give one, e.g. 'training.lr=tag(log,interval(1e-5,2e-4))'"]
    return [f"{seed}: a search runs each trial under search.num_seeds seeds; set that instead" for seed in seeds]


def _problems_together(command: str, overrides: list[str]) -> list[str]:
    # OmegaConf asserts at a key of an option that was not chosen, such as tracker.mlflow.uri: they come last.
    optional = {text: chosen for text in overrides if (chosen := _option(text))}
    problems, cfg = _composed(command, [text for text in overrides if text not in optional])
    if optional and cfg is not None:
        absent = {text for text, chosen in optional.items() if OmegaConf.select(cfg, ".".join(chosen)) is None}
        problems, cfg = _composed(command, [text for text in overrides if text not in absent])
        for text in overrides:
            if text in absent:
                group, option = optional[text]
                problems.append(f"{text}: there is no {option} to set it for; add it to {group}=[...]")
    if cfg is None:
        return problems
    if command == "train" and "${oc.env:" in str(masked(cfg).get("name")):
        problems.append(f"name={cfg._get_node('name')}: names the run folder, which is shown; write it without oc.env")
    try:
        config: Any = to_config(cfg, SCHEMAS[command])
        problems += schemas.missing_packages(config.tracker) if isinstance(config, schemas.RunConfig) else []
    except ConfigError as error:
        problems += error.problems
    return problems


def _composed(command: str, overrides: list[str]) -> tuple[list[str], DictConfig | None]:
    """What Hydra objects to, and the config without that; None when it does not say what it objects to."""
    problems: list[str] = []
    remaining = list(overrides)
    while True:
        try:
            return problems, compose_command(command, remaining)
        except (HydraException, OmegaConfBaseException) as error:
            culprit = _culprit(error, remaining)
            if culprit is None:
                return [*problems, first_line(error)], None
            problems.append(f"{culprit}: {plain(error)}{documentation(command, culprit.split('=')[0])}")
            remaining.remove(culprit)


def _option(text: str) -> tuple[str, str] | None:
    """(group, option) of an override such as group.option.key=value."""
    group, _, rest = text.split("=")[0].partition(".")
    option, _, key = rest.partition(".")
    return (group, option) if key and option in _options(group) else None


def _options(group: str) -> list[str]:
    return GlobalHydra.instance().config_loader().get_group_options(group) if group in groups() else []


def _culprit(error: Exception, overrides: list[str]) -> str | None:
    text = f"{error} {error.__cause__ or ''}"
    by_name = next((o for o in overrides if o in text), None)
    key = re.search(r"full_key: (\S+)", text)
    return by_name or next((o for o in overrides if key and o.lstrip("+").split("=")[0] == key[1]), None)
