"""A calibration is fitted to the logits that prediction computes, at any precision."""

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


@pytest.mark.slow
@pytest.mark.parametrize("precision", [Precision.fp32, Precision.bf16])
@pytest.mark.parametrize(
    "task", [pytest.param("single_label", marks=pytest.mark.proof), "multi_label"]
)
def test_a_calibration_is_fitted_on_the_logits_of_prediction(tmp_path, precision, task):
    overrides = [f"data.task={task}", f"training.precision={precision.value}"]
    run = train_in(tmp_path / "run", *overrides)
    config, _ = configure(*overrides)
    seeds = Seeds(config.training.seed, config.training.seeds)
    split = load_data(config.data, seeds).val
    val, labels = split.rows, split.targets
    classifier = TextClassifier.load(run.path, calibrated=True)
    logits = classifier.logits([(text, None) for text in val["text"]], 64)
    fitted = classifier.calibration
    scaled = fitted.scaled(logits)
    losses = [
        row_losses(classifier.task, logits, labels).mean(),
        row_losses(classifier.task, scaled, labels).mean(),
    ]
    assert fitted.loss == pytest.approx(losses, rel=1e-5)
    assert read_json(run.results)["precision"] == precision.value
    if task == "multi_label":
        predictions = classifier.predict(list(val["text"]), batch_size=7)
        values = np.array([list(row["scores"].values()) for row in predictions])
        expected = tune_thresholds(values, labels)
        assert fitted.thresholds == pytest.approx(expected, abs=1e-6)
        thresholds = np.array(fitted.thresholds)
        calibrated = probabilities(classifier.task, scaled)
        assert np.array_equal(values > thresholds, calibrated > thresholds)
