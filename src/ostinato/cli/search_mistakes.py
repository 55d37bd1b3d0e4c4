"""Checks the overrides of a search."""

from hydra.core.override_parser.types import Override


def problems_of_search(overrides: list[Override], multirun: bool) -> list[str]:
    """The mistakes in the overrides of a search, one line each.

    Args:
        overrides: the whole command line.
        multirun: whether `-m` was typed.
    """
    search = _search_as_typed(overrides)
    if search == "search=null":
        return _unused_keys(overrides)
    if not multirun:
        return [f"{search}: a search is a sweep; add -m"]
    if not _has_range(overrides):
        example = "'training.lr=tag(log,interval(1e-5,2e-4))'"
        return [f"{search}: needs a range to search; add one, e.g. {example}"]
    return _swept_seeds(overrides)


def _search_as_typed(overrides: list[Override]) -> str:
    for override in overrides:
        if override.key_or_group == "search":
            return str(override.input_line)
    return "search=null"


def _unused_keys(overrides: list[Override]) -> list[str]:
    problems = []
    for override in overrides:
        if override.key_or_group.startswith("search."):
            text = override.input_line
            problems.append(
                f"{text}: has no effect without a search; add search=optuna"
            )
    return problems


def _has_range(overrides: list[Override]) -> bool:
    for override in overrides:
        if override.is_sweep_override():
            return True
        if override.key_or_group.startswith("hydra.sweeper.params"):
            return True
    return False


def _swept_seeds(overrides: list[Override]) -> list[str]:
    problems = []
    for override in overrides:
        is_seed = override.key_or_group in ("seed", "training.seed")
        if is_seed and override.is_sweep_override():
            problems.append(
                f"{override.input_line}: a search runs each trial with "
                "search.num_seeds seeds; set that key instead"
            )
    return problems
