"""A calibration is fitted to the logits that prediction computes, whatever the precision of the run."""

import numpy as np
import pytest
from runs import configure, train_in

from ostinato import TextClassifier
from ostinato.config import Precision
from ostinato.data.splits import load_data
from ostinato.run_dir import read_json
from ostinato.scoring.metrics import probabilities, row_losses
from ostinato.scoring.thresholds import tune_thresholds
from ostinato.seeding import Seeds


@pytest.mark.parametrize("precision", [Precision.fp32, Precision.bf16])
@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_calibrated_predictions_on_validation_are_those_that_it_was_fitted_on(
    tmp_path, precision, task
):
    overrides = [f"data.task={task}", f"training.precision={precision.value}"]
    run = train_in(tmp_path / "run", *overrides)
    config, _ = configure(*overrides)
    val = load_data(
        config.data, Seeds(config.training.seed, config.training.seeds)
    ).val.rows
    labels = np.array(list(val["label"]))
    classifier = TextClassifier.load(run.path, calibrated=True)
    logits = classifier._logits([(text, None) for text in val["text"]], 64)
    fitted = classifier.calibration
    losses = [
        row_losses(classifier.task, side, labels).mean()
        for side in (logits, fitted.scaled(logits))
    ]
    assert fitted.loss == pytest.approx(losses, rel=1e-5)
    assert read_json(run.results)["precision"] == precision.value
    if task == "multi_label":
        values = np.array(
            [
                list(row["scores"].values())
                for row in classifier.predict(list(val["text"]), batch_size=7)
            ]
        )
        assert fitted.thresholds == pytest.approx(
            tune_thresholds(values, labels), abs=1e-6
        )
        cuts = np.array(fitted.thresholds)
        assert (
            (values > cuts)
            == (probabilities(classifier.task, fitted.scaled(logits)) > cuts)
        ).all()
