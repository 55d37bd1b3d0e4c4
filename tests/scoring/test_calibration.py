"""Calibration minimises the validation loss, keeps classes, and is used only on request."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import train_in
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.metrics import f1_score

from ostinato import TextClassifier
from ostinato.config import Task
from ostinato.errors import ConfigError
from ostinato.record.digests import digest_file
from ostinato.run_dir import read_json
from ostinato.scoring.calibration import (
    calibrate,
    load_calibration,
)
from ostinato.scoring.metrics import probabilities, row_losses
from ostinato.scoring.temperature import fit_temperature
from ostinato.scoring.thresholds import tune_thresholds

SINGLE, MULTI = Task.single_label, Task.multi_label
TEXTS = [
    "the soup simmers at noon",
    "the wind returns",
    "our coach loses the recipe",
    "x",
]
few = settings(max_examples=25)


def noisy(seed, overconfidence, num_rows=400, num_classes=5):
    """Labels drawn from the model's own probabilities, and logits multiplied by a factor.

    The factor is the true temperature.
    """
    random = np.random.default_rng(seed)
    logits = random.normal(size=(num_rows, num_classes)) * 2
    values = probabilities(SINGLE, logits)
    labels = np.array([random.choice(num_classes, p=row) for row in values])
    return (logits * overconfidence).astype(np.float32), labels


@few
@given(st.integers(0, 10**6), st.floats(0.3, 4))
def test_temperature_agrees_with_a_direct_minimisation(seed, overconfidence):
    logits, labels = noisy(seed, overconfidence)

    def loss(inverse):
        scaled = logits.astype(np.float64) * inverse[0]
        log_probabilities = log_softmax(scaled, axis=1)
        return -log_probabilities[np.arange(len(labels)), labels].mean()

    options = {"xatol": 1e-10, "fatol": 1e-14}
    minimum = minimize(loss, [1.0], method="Nelder-Mead", options=options)
    direct = 1 / minimum.x[0]
    assert fit_temperature(SINGLE, logits, labels) == pytest.approx(direct, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("overconfidence", [0.4, 1, 3])
def test_temperature_finds_how_overconfident_a_model_is(overconfidence):
    logits, labels = noisy(0, overconfidence, num_rows=20_000)
    assert fit_temperature(SINGLE, logits, labels) == pytest.approx(
        overconfidence, rel=0.05
    )
    before, after = calibrate(SINGLE, logits, labels, list("abcde")).ece
    assert after < 0.02
    assert overconfidence == 1 or after < before / 3


def test_temperature_stays_one_if_the_rows_do_not_determine_it():
    labels = np.arange(5)
    no_error = np.eye(5, dtype=np.float32)
    no_information = np.zeros((5, 5), np.float32)
    all_wrong = -np.eye(5, dtype=np.float32)
    assert fit_temperature(SINGLE, no_error, labels) == 1
    assert fit_temperature(SINGLE, no_information, labels) == 1
    assert fit_temperature(SINGLE, all_wrong, labels) == 1


@few
@given(st.integers(0, 10**6), st.integers(2, 30))
def test_no_threshold_has_a_better_f1_than_the_tuned_one(seed, num_rows):
    random = np.random.default_rng(seed)
    values = np.round(random.random((num_rows, 3)), 1)  # with ties
    labels = (random.random((num_rows, 3)) < 0.4).astype(np.float32)
    tuned = tune_thresholds(values, labels)
    for column, truth, threshold in zip(values.T, labels.T, tuned, strict=True):
        assert 0 <= threshold <= 1
        if not 0 < truth.sum() < num_rows:
            assert threshold == 0.5
            continue
        predicted = column > np.linspace(0, 1, 41)[:, None]
        hits = (predicted & (truth > 0)).sum(axis=1)
        best = (2 * hits / (predicted.sum(axis=1) + truth.sum())).max()
        found = f1_score(truth, column > threshold, zero_division=0)
        assert found == pytest.approx(best)


def test_the_threshold_of_the_worked_example():
    values = np.array([[0.2], [0.4], [0.6], [0.8]])
    labels = np.array([[0], [1], [0], [1]])
    assert tune_thresholds(values, labels) == pytest.approx((0.3,))


def test_multi_label_temperature_lowers_the_loss():
    random = np.random.default_rng(1)
    logits = random.normal(size=(500, 4)).astype(np.float32)
    labels = (random.random((500, 4)) < probabilities(MULTI, logits)).astype(np.float32)
    stretched = logits * np.float32(3)
    calibration = calibrate(MULTI, stretched, labels, list("abcd"))
    assert calibration.temperature == pytest.approx(3, rel=0.1)
    scaled = calibration.scaled(stretched)
    before = row_losses(MULTI, stretched, labels).mean()
    after = row_losses(MULTI, scaled, labels).mean()
    assert calibration.loss == (before, after)
    assert after < before


@pytest.fixture(scope="module", params=["single_label", "multi_label"])
def run(request, tmp_path_factory):
    return train_in(
        tmp_path_factory.mktemp(request.param) / "run",
        f"data.task={request.param}",
        "data.limit_train=null",
        "data.limit_val=null",
        # One epoch leads to validation errors. Without them, the temperature stays 1.
        "training.epochs=1",
    )


@pytest.mark.slow
def test_predictions_use_the_calibration_only_on_request(run):
    kept = json.loads(run.calibration.read_text())
    before = TextClassifier.load(run.path, calibrated=False)
    after = TextClassifier.load(run.path, calibrated=True)
    logits = after.logits([(text, None) for text in TEXTS], 64).astype(np.float64)
    expected = probabilities(after.task, logits / kept["temperature"])
    assert kept["temperature"] != 1
    for plain, scaled, values in zip(
        before.predict(TEXTS), after.predict(TEXTS), expected, strict=True
    ):
        assert list(scaled["scores"].values()) == values.tolist()
        assert list(plain["scores"].values()) != values.tolist()
        if after.task is SINGLE:
            assert scaled["label"] == plain["label"]
        else:
            pairs = zip(after.labels, values, kept["thresholds"], strict=True)
            assert scaled["labels"] == [
                label for label, value, cut in pairs if value > cut
            ]


def test_calibration_does_not_change_weights_and_fingerprint(run):
    assert digest_file(run.best_weights) == read_json(run.fingerprint)["best_weights"]
    assert (
        read_json(run.results)["calibration"]["temperature"]
        == json.loads(run.calibration.read_text())["temperature"]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0}, "damaged"),
        ({"temperature": None}, "damaged"),
        ({"more": 1}, "damaged"),
        ({"labels": ["a", "b", "c"]}, "belongs to other weights"),
        ({"weights": "0" * 64}, "belongs to other weights"),
    ],
)
def test_a_calibration_that_does_not_fit_is_refused(run, tmp_path, change, message):
    kept = json.loads(run.calibration.read_text())
    (tmp_path / "model.safetensors").symlink_to(run.best_weights)
    task, labels = Task(kept["task"]), kept["labels"]
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(kept))
    assert load_calibration(tmp_path, task, labels).temperature == kept["temperature"]
    path.write_text(json.dumps(kept | change))
    with pytest.raises(ConfigError, match=message):
        load_calibration(tmp_path, task, labels)
    path.unlink()
    with pytest.raises(
        ConfigError, match=r"calibrated=true: .*calibration\.json is missing"
    ):
        load_calibration(tmp_path, task, labels)
