"""Whether a run has ended, and how good it is, by its `results.json`."""

import math
from collections.abc import Mapping
from typing import Any

from ostinato.errors import ConfigError
from ostinato.record.files import read_finished_results
from ostinato.run_dir import RunDir, read_json


def has_ended(run: RunDir) -> bool:
    """Whether the folder records how its last session ended.

    A `results.json` of any version counts, so that no older program overwrites it.
    """
    try:
        return read_json(run.results).get("status") != "unfinished"
    except ConfigError:
        return False  # missing or damaged


def finished_metric(run: RunDir) -> float | None:
    """Reads the best monitored validation metric of a run that has finished.

    Returns:
        The metric; None if the run has not finished, or its record is damaged.
    """
    try:
        results = read_finished_results(run)
        if results["status"] != "finished":
            return None
        if not run.fingerprint.is_file():
            return None  # the run has trained further since
        return best_metric(results)
    except ConfigError:
        return None  # missing, damaged, or stopped by `until_step`


def best_metric(results: Mapping[str, Any]) -> float:
    """Finds the best monitored validation metric in a finished run's results.

    Args:
        results: content of `results.json`.

    Returns:
        The metric; NaN if no evaluation defined it.

    Raises:
        ConfigError: the results hold no evaluation at the best step.
    """
    step, monitor = results["best_step"], results["monitor"]
    for evaluation in results["validation"]:
        value = evaluation.get(monitor, math.nan)
        if evaluation.get("step") == step and isinstance(value, int | float):
            return float(value)
    reason = f"no {monitor} at best_step={step}"
    remedy = "restore the file, or train again"
    raise ConfigError([f"results.json: damaged ({reason}); {remedy}"])
