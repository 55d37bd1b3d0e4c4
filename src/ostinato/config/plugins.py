"""The launchers and searches that are plugins of Hydra, and the extra that brings each."""

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
    if not package or find_spec(f"hydra_plugins.{package}") is not None:
        return None
    return f"{choice}: needs pip install 'ostinato[{extra}]'"
