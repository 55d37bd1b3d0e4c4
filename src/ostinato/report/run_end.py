"""What a finished run leaves beside its metrics: calibration, model card, report. None of it may fail the run."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.config import RunConfig, Task
from ostinato.data.batching import plan_evaluation
from ostinato.data.splits import TextData
from ostinato.data.tokenise import TokenisedSplit
from ostinato.inference.classifier import TextClassifier
from ostinato.report.model_card import write_model_card
from ostinato.report.page import write_report
from ostinato.run_dir import RunDir
from ostinato.scoring.calibration import Calibration, calibrate, save_calibration
from ostinato.scoring.calibration_error import calibration_error
from ostinato.scoring.predictions import load_predictions

log = logging.getLogger(__name__)

_BATCH = 64  # rows, as `predict` takes them


def describe_model(
    run: RunDir,
    config: RunConfig,
    results: dict[str, Any],
    provenance: Mapping[str, Any],
    fingerprint: Mapping[str, Any],
    val: TokenisedSplit,
) -> None:
    """Calibrates the best weights and writes their model card; adds what calibration gave to the results."""
    if config.data.task is not Task.regression:
        with _only_warned("calibration"):
            logits = _logits(run, results, val)
            calibration = calibrate(
                config.data.task, logits, val.labels, results["labels"]
            )
            save_calibration(run, calibration)
            results["calibration"] = _record(run, calibration)
    with _only_warned("model card"):
        write_model_card(run, config, results, provenance, fingerprint)


def show_run(run: RunDir, config: RunConfig, data: TextData) -> None:
    """Writes the report, from what the folder holds."""
    with _only_warned("report"):
        write_report(run, config, run.report, config.report.slices, data)


def _logits(
    run: RunDir, results: Mapping[str, Any], val: TokenisedSplit
) -> NDArray[np.float32]:
    """Validation logits as prediction computes them, in fp32; a run in another precision computes them once more."""
    if results["precision"] == "fp32":
        return load_predictions(run.predictions("val"))[0]
    classifier = TextClassifier.load(run.path, results["device"])
    logits = np.empty((len(val.lengths), len(classifier.labels)), dtype=np.float32)
    for indices in plan_evaluation(val.lengths, _BATCH):
        logits[indices] = classifier.forward(val.rows[indices])
    return logits


def _record(run: RunDir, calibration: Calibration) -> dict[str, Any]:
    record: dict[str, Any] = {
        "temperature": calibration.temperature,
        "num_rows": calibration.num_rows,
    }
    if calibration.thresholds is not None:
        return record | {
            "thresholds": dict(
                zip(calibration.labels, calibration.thresholds, strict=True)
            )
        }
    assert calibration.ece is not None
    errors = {"val": list(calibration.ece)}
    if run.predictions("test").is_file():
        logits, labels = load_predictions(run.predictions("test"))
        scaled = calibration.scaled(logits)
        errors["test"] = [
            calibration_error(logits, labels),
            calibration_error(scaled, labels),
        ]
    return record | {"ece": errors}


@contextmanager
def _only_warned(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the run stands whatever becomes of these
        log.warning(
            "the %s could not be written: %s: %s",
            what,
            type(error).__name__,
            " ".join(str(error).split()),
        )
