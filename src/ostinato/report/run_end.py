"""Writes the calibration, the model card and the report of a finished run.

An error here is logged as a warning, because the trained weights are valid without
these files.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.config import RunConfig, Task
from ostinato.data.batching import plan_evaluation
from ostinato.data.splits import TextData
from ostinato.data.tokenised_split import TokenisedSplit
from ostinato.inference.classifier import TextClassifier
from ostinato.report.model_card import write_model_card
from ostinato.report.page import write_report
from ostinato.run_dir import RunDir
from ostinato.scoring.calibration import Calibration, calibrate, save_calibration
from ostinato.scoring.calibration_error import calibration_error
from ostinato.scoring.predictions import load_predictions

log = logging.getLogger(__name__)

_BATCH_SIZE = 64  # the default of `Classifier.predict`


def write_calibration_and_card(
    run: RunDir,
    config: RunConfig,
    results: dict[str, Any],
    provenance: Mapping[str, Any],
    fingerprint: Mapping[str, Any],
    val: TokenisedSplit,
) -> None:
    """Calibrates the best weights and writes their model card.

    Args:
        run: run folder.
        config: config of the run.
        results: content of `results.json`; the calibration is added to it.
        provenance: content of `provenance.json`.
        fingerprint: content of `fingerprint.json`.
        val: validation rows.
    """
    if config.data.task is not Task.regression:
        with _errors_as_warnings("calibration"):
            logits = _validation_logits(run, results, val)
            calibration = calibrate(
                config.data.task,
                logits,
                val.labels,
                results["labels"],
                val.distributions,
            )
            save_calibration(run, calibration)
            results["calibration"] = _calibration_record(run, calibration)
    with _errors_as_warnings("model card"):
        write_model_card(run, config, results, provenance, fingerprint)


def write_run_report(
    run: RunDir,
    config: RunConfig,
    data: TextData,
) -> None:
    """Writes the report of a run that has just finished.

    Args:
        run: run folder.
        config: config of the run.
        data: data of the run.
    """
    with _errors_as_warnings("report"):
        write_report(run, config, run.report, config.report.slices, data)


def _validation_logits(
    run: RunDir,
    results: Mapping[str, Any],
    val: TokenisedSplit,
) -> NDArray[np.float32]:
    """Logits of the validation rows in fp32, the precision of `predict`."""
    if results["precision"] == "fp32":
        logits, _ = load_predictions(run.predictions("val"))
        return logits
    classifier = TextClassifier.load(run.path, results["device"])
    logits = np.empty((len(val.lengths), len(classifier.labels)), dtype=np.float32)
    for indices in plan_evaluation(val.lengths, _BATCH_SIZE, val.windows):
        logits[indices] = classifier.forward(val.rows[indices])
    return logits


def _calibration_record(run: RunDir, calibration: Calibration) -> dict[str, Any]:
    """The calibration as `results.json` holds it."""
    record: dict[str, Any] = {
        "temperature": calibration.temperature,
        "num_rows": calibration.num_rows,
    }
    if calibration.thresholds is not None:
        pairs = zip(calibration.labels, calibration.thresholds, strict=True)
        record["thresholds"] = dict(pairs)
        return record
    assert calibration.ece is not None
    record["ece"] = {"val": list(calibration.ece)}
    if run.predictions("test").is_file():
        logits, labels = load_predictions(run.predictions("test"))
        before = calibration_error(logits, labels)
        after = calibration_error(calibration.scaled(logits), labels)
        record["ece"]["test"] = [before, after]
    return record


@contextmanager
def _errors_as_warnings(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        message = " ".join(str(error).split())
        log.warning(
            "the %s could not be written: %s: %s",
            what,
            type(error).__name__,
            message,
        )
