"""Whether a run has ended, and how good it is: read from its `results.json`."""

import math
from collections.abc import Mapping
from typing import Any

from ostinato.errors import ConfigError
from ostinato.record.schema import FinishedResults
from ostinato.run_dir import RunDir, read_json


def has_ended(run: RunDir) -> bool:
    """Whether the folder says how its last session ended."""
    try:
        return read_json(run.results).get("status") != "unfinished"
    except ConfigError:
        return False  # never written, or damaged


def finished_metric(run: RunDir) -> float | None:
    """The best monitored validation metric of a run that has finished; None of every other."""
    try:
        results = read_json(run.results, FinishedResults)
        finished = (
            results["status"] == "finished" and run.fingerprint.is_file()
        )  # else it trained further since
        return best_metric(results) if finished else None
    except ConfigError:
        return None  # missing, damaged, or stopped by `until_step`


def best_metric(results: Mapping[str, Any]) -> float:
    """The best monitored validation metric of a finished run's results; NaN where no evaluation defined it.

    Raises:
        ConfigError: it is not there.
    """
    step, monitor = results["best_step"], results["monitor"]
    for evaluation in results["validation"]:
        value = evaluation.get(monitor, math.nan)
        if evaluation.get("step") == step and isinstance(value, int | float):
            return float(value)
    raise ConfigError(
        [
            f"results.json: damaged (no {monitor} at best_step={step}); restore the file, or train again"
        ]
    )
