"""Checks whether the packages of the optional extras are installed."""

from importlib.util import find_spec

# option: (plugin package of Hydra, extra of this project)
_PLUGINS = {
    "launcher=joblib": ("hydra_joblib_launcher", "joblib"),
    "launcher=slurm": ("hydra_submitit_launcher", "slurm"),
    "launcher=submitit_local": ("hydra_submitit_launcher", "slurm"),
    "launcher=ray": ("hydra_ray_launcher", "ray"),
    "search=optuna": ("hydra_optuna_sweeper", "optuna"),
}


def missing_plugin(group: str, option: str) -> str | None:
    """Checks that the plugin of a launcher or a search is installed.

    Args:
        group: `launcher` or `search`; other groups need no plugin.
        option: option of the group.

    Returns:
        One line with the remedy, or None when nothing is missing.
    """
    choice = f"{group}={option}"
    if choice not in _PLUGINS:
        return None
    package, extra = _PLUGINS[choice]
    return missing_extra(choice, extra, f"hydra_plugins.{package}")


def missing_extra(choice: str, extra: str, *packages: str) -> str | None:
    """Checks that all packages that a choice needs are installed.

    Args:
        choice: the override, as typed.
        extra: extra of this project that installs the packages.
        packages: names to import.

    Returns:
        One line with the remedy, or None when nothing is missing.
    """
    for package in packages:
        if find_spec(package) is None:
            return f"{choice}: needs pip install 'ostinato[{extra}]'"
    return None
