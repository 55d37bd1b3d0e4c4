"""The extras that a choice needs: packages, and the launchers and searches that are plugins of Hydra."""

from importlib.util import find_spec

_PLUGINS = {
    "launcher=joblib": ("hydra_joblib_launcher", "joblib"),
    "launcher=slurm": ("hydra_submitit_launcher", "slurm"),
    "launcher=submitit_local": ("hydra_submitit_launcher", "slurm"),
    "launcher=ray": ("hydra_ray_launcher", "ray"),
    "search=optuna": ("hydra_optuna_sweeper", "optuna"),
}


def missing_plugin(group: str, option: str) -> str | None:
    """The remedy when an option of the groups `launcher` or `search` needs a package that is not installed."""
    choice = f"{group}={option}"
    package, extra = _PLUGINS.get(choice, ("", ""))
    return missing_extra(choice, extra, f"hydra_plugins.{package}") if package else None


def missing_extra(choice: str, extra: str, *packages: str) -> str | None:
    """The remedy when one of the packages that a choice needs is not installed."""
    if all(find_spec(package) is not None for package in packages):
        return None
    return f"{choice}: needs pip install 'ostinato[{extra}]'"
