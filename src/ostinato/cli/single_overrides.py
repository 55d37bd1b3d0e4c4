"""Checks one override alone, before anything is composed."""

from dataclasses import dataclass

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override

from ostinato.cli.schemas import groups, keys_of, options_of
from ostinato.cli.variations import values_of
from ostinato.cli.wording import did_you_mean
from ostinato.config import missing_plugin

# The other groups accept a list of options.
_GROUPS_WITH_ONE_OPTION = (
    *("model", "model/adapter", "data", "training", "training/optimizer"),
    *("launcher", "search"),
)
_FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")


def problem_of_override(
    override: Override, text: str, command: str, multirun: bool
) -> str | None:
    """The mistake in an override, within `hydra_composition`; None if there is none.

    Args:
        override: the parsed override.
        text: the override as typed.
        command: name of the command.
        multirun: whether `-m` was typed.
    """
    key = override.key_or_group
    is_sweep = override.is_sweep_override()
    if key == "hydra.mode":
        return f"{text}: is not supported; remove it, and add -m for a sweep"
    if key in _FOLDERS and override.value() in ("", None):
        return f"{text}: must name a folder"
    if key.startswith("hydra") or override.is_delete():
        return None
    if is_sweep and not multirun:
        return f"{text}: several values need a sweep; add -m"

    group = key.replace(".", "/")
    if group != key and group in groups():
        listed = ", ".join(f"{group}={option}" for option in options_of(group))
        return f"{text}: {group} is a group of options; use one of {listed}"
    options = _options_of(key)
    if is_sweep and "glob(" in text and not (options and values_of(override)):
        return f"{text}: glob(...) must match options of a group, and matches none"
    if options:
        return _problem_of_options(override, text, options)
    if _is_known(key, override, command):
        return None
    suggestion = did_you_mean(key, [*keys_of(command), *groups()])
    return f"{text}: unknown key{suggestion}"


def _is_known(key: str, override: Override, command: str) -> bool:
    if key.startswith("model.architecture."):
        return True
    keys = keys_of(command)
    if key in keys:
        return True
    # The key of a whole section, such as training.seeds, can be set but not added.
    is_section = any(name.startswith(f"{key}.") for name in keys)
    return is_section and not override.is_add()


def _problem_of_options(
    override: Override, text: str, options: list[str]
) -> str | None:
    group = override.key_or_group
    listed = f"the options are {', '.join(options)}"
    for value in values_of(override):
        is_list = value.startswith("[")
        if is_list and group in _GROUPS_WITH_ONE_OPTION:
            return f"{text}: takes one {group}, not a list; {listed}"
        names = _names_in_list(value) if is_list else [value]
        for name in names:
            if name not in options and not (is_list and name == ""):
                suggestion = did_you_mean(name, options)
                return f"{text}: unknown {group}{suggestion}; {listed}"
        problem = missing_plugin(group, names[0])
        if problem:
            return problem
    return None


def _names_in_list(value: str) -> list[str]:
    items = value.strip("[]").split(",")
    return [item.strip() for item in items]


def _options_of(group: str) -> list[str]:
    """The options that Hydra finds; empty if there is no group of this name."""
    if group not in groups():
        return []
    return GlobalHydra.instance().config_loader().get_group_options(group)


@dataclass(frozen=True)
class Section:
    """A part of the config that exists only if an option is chosen.

    Attributes:
        key: its key.
        problem: of a key in it, if the option is not chosen.
    """

    key: str
    problem: str


def optional_section(text: str) -> Section | None:
    """The optional section that an override sets a key of; None for others.

    The override has the form `group.option.key=value`, or sets a key of an adapter.
    """
    group, _, rest = text.split("=")[0].lstrip("+").partition(".")
    option, _, key = rest.partition(".")
    section = f"{group}.{option}"
    if section == "model.adapter" and key:
        problem = "must be used with model/adapter=lora or dora; add one of them"
        return Section(section, problem)
    if key and option in _options_of(group):
        problem = f"has no effect without {group}={option}"
        return Section(section, f"{problem}; add {option} to {group}=[...]")
    return None


def sets_a_plain_value(text: str) -> bool:
    """Whether an override only sets one value.

    Other overrides choose an option, change Hydra, or have a value that is merged.
    """
    key, _, value = text.partition("=")
    if key in groups() or optional_section(text) is not None:
        return False
    return not key.startswith(("hydra", "+", "~")) and not value.startswith("{")
