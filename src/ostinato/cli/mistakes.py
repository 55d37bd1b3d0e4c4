"""Finds every mistake in a command line, with one line for each.

Hydra stops at the first mistake, and pydantic sees only what Hydra accepts. Here, each
override is checked alone. Then the config is composed without the invalid overrides,
and all values are validated together.
"""

import copy
import re
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ostinato import config as schemas
from ostinato.cli.composition import hydra_composition, parse
from ostinato.cli.interpolation import masked
from ostinato.cli.rejected_overrides import compose_without_rejected
from ostinato.cli.run_names import problems_of_name
from ostinato.cli.schemas import SCHEMAS, with_documentation
from ostinato.cli.search_mistakes import problems_of_search
from ostinato.cli.single_overrides import (
    optional_section,
    problem_of_override,
    sets_a_plain_value,
)
from ostinato.cli.validation import to_config
from ostinato.cli.variations import variations
from ostinato.cli.wording import explain, first_line
from ostinato.errors import ConfigError

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def find_problems(
    command: str, overrides: list[str], multirun: bool, values: bool = True
) -> list[str]:
    """Finds every mistake in a command line.

    Args:
        command: name of the command.
        overrides: the overrides as typed.
        multirun: whether `-m` was typed.
        values: whether to validate the values of the composed config, too.

    Returns:
        One line per mistake, in the order typed.
    """
    problems: list[str] = []
    valid: list[Override] = []
    with hydra_composition():
        for text in overrides:
            try:
                override = parse(text)
                problem = problem_of_override(override, text, command, multirun)
            except (HydraException, ValueError, RecursionError) as error:
                # ValueError: for example, an integer of 5,000 digits.
                problem = f"{text}: not of the form key=value ({first_line(error)})"
            if problem:
                problems.append(problem)
            else:
                valid.append(override)

        search_problems = problems_of_search(valid, multirun)
        if search_problems:
            problems += search_problems
            valid = [o for o in valid if not o.key_or_group.startswith("search")]
        problems += _problems_of_variations(command, valid, values)
    return [_one_line(problem) for problem in dict.fromkeys(problems)]


def _one_line(text: str) -> str:
    """The text with control characters escaped. A quoted value can have line ends."""
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


def _problems_of_variations(
    command: str, overrides: list[Override], values: bool
) -> list[str]:
    """The mistakes in all values of a sweep.

    A composition takes a tenth of a second. Therefore, all values of a plain key share
    one composition.
    """
    problems: list[str] = []
    first: DictConfig | None = None
    copies: dict[str, DictConfig] = {}
    for variation in variations(overrides):
        changed = variation.changed
        if changed is None or first is None or not sets_a_plain_value(changed):
            found, cfg = _problems_together(command, variation.overrides, values)
            problems += found
            if changed is None:
                first = cfg
            continue
        key = changed.split("=", 1)[0]
        if key not in copies:
            copies[key] = copy.deepcopy(first)
        problems += _problems_of_update(command, copies[key], changed, values)
    return problems


def _problems_of_update(
    command: str, cfg: DictConfig, changed: str, values: bool
) -> list[str]:
    """Sets one value in a composed config, as Hydra does, and validates all values."""
    key = changed.split("=", 1)[0]
    try:
        OmegaConf.update(cfg, key, parse(changed).value(), merge=False)
    except OmegaConfBaseException as error:
        problem = f"{changed}: {explain(error)}"
        return [with_documentation(command, key, problem)]
    return _problems_of_values(command, cfg) if values else []


def _problems_together(
    command: str, overrides: list[str], values: bool
) -> tuple[list[str], DictConfig | None]:
    """Composes a command line without sweeps.

    Returns:
        The mistakes, and the config without the overrides that are mistakes. The config
        is None if it cannot be composed.
    """
    # OmegaConf fails at a key of an option that was not chosen, for example
    # tracker.mlflow.uri. Therefore, a first composition without these keys shows which
    # options were chosen.
    of_options = {text: optional_section(text) for text in overrides}
    plain = [text for text in overrides if of_options[text] is None]
    problems, cfg = compose_without_rejected(command, plain)
    if cfg is not None and len(plain) < len(overrides):
        unused = []
        for text, section in of_options.items():
            if section and OmegaConf.select(cfg, section.key) is None:
                unused.append(text)
        used = [text for text in overrides if text not in unused]
        problems, cfg = compose_without_rejected(command, used)
        for text, section in of_options.items():
            if section and text in unused:
                problems.append(f"{text}: {section.problem}")
    if cfg is not None and values:
        problems += _problems_of_values(command, cfg)
    return problems, cfg


def _problems_of_values(command: str, cfg: DictConfig) -> list[str]:
    is_training = command == "train"
    try:
        config: Any = to_config(cfg, SCHEMAS[command])
    except ConfigError as error:
        names = problems_of_name(cfg) if is_training else []
        return [*error.problems, *names]
    if not isinstance(config, schemas.RunConfig):
        return []
    shown = masked(cfg)["model"]
    if "${oc.env:" in str(shown["architecture"]):
        return [
            f"model.architecture={shown['architecture']}: is saved with the model; "
            "write the value without oc.env"
        ]
    for key in ("name", "revision") if shown["adapter"] else ():
        if "${oc.env:" in str(shown[key]):
            return [
                f"model.{key}={shown[key]}: is read again to load the adapter; "
                "write the value without oc.env"
            ]
    missing = schemas.missing_packages(config.tracker)
    missing += schemas.missing_adapter_package(config.model)
    return [*missing, *problems_of_name(cfg)]
