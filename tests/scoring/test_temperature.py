"""The temperature minimises the loss, and is below 1 only with enough errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.config import Task
from ostinato.scoring.metrics import probabilities, row_losses
from ostinato.scoring.temperature import MIN_ERRORS, fit_temperature
from ostinato.scoring.thresholds import tune_thresholds

SINGLE, MULTI = Task.single_label, Task.multi_label
TASKS = st.sampled_from([SINGLE, MULTI])
few = settings(max_examples=25)


def rows(task, seed, noise=1.0, num_rows=200, num_classes=4):
    """Labels, and logits that predict them except for noise."""
    random = np.random.default_rng(seed)
    if task is SINGLE:
        labels = random.integers(0, num_classes, num_rows)
        truth = np.eye(num_classes)[labels]
    else:
        truth = labels = random.integers(0, 2, (num_rows, num_classes)).astype(
            np.float32
        )
    logits = 2 * (truth - 0.5) + noise * random.normal(size=(num_rows, num_classes))
    return logits.astype(np.float32), labels


@few
@given(TASKS, st.integers(0, 10**6), st.floats(0.8, 3))
def test_no_other_temperature_has_a_smaller_loss_and_the_loss_rises_on_both_sides(
    task, seed, noise
):
    logits, labels = rows(task, seed, noise)
    fitted = fit_temperature(task, logits, labels)
    grid = fitted * np.geomspace(0.1, 10, 201)  # the fitted one is in the middle
    losses = []
    for temperature in grid:
        scaled = logits / np.float64(temperature)
        losses.append(row_losses(task, scaled, labels).mean())
    assert (np.diff(losses[:101]) <= 0).all()
    assert (np.diff(losses[100:]) >= 0).all()


@few
@given(TASKS, st.integers(0, 10**6), st.integers(-40, 40))
def test_the_temperature_scales_with_the_logits(task, seed, power):
    logits, labels = rows(task, seed)
    scaled = fit_temperature(task, logits * np.float32(2.0**power), labels)
    assert scaled == pytest.approx(
        fit_temperature(task, logits, labels) * 2.0**power, rel=1e-8
    )


@few
@given(TASKS, st.integers(0, 10**6), st.floats(0.01, 100))
def test_without_an_error_the_temperature_is_one(task, seed, scale):
    logits, labels = rows(task, seed, noise=0.1)
    assert fit_temperature(task, (logits * scale).astype(np.float32), labels) == 1


@pytest.mark.parametrize("task", [SINGLE, MULTI])
def test_ties_are_not_errors(task):
    labels = np.array([0, 1, 0, 1])
    logits = np.array([[4, 0], [0, 4], [1, 1], [0, 0]], np.float32)
    if task is MULTI:
        labels = np.array([[1, 1], [1, 1], [1, 1], [0, 1]])
    assert fit_temperature(task, logits, labels) == 1


@pytest.mark.parametrize("num_errors", [1, MIN_ERRORS - 1, MIN_ERRORS])
def test_a_temperature_below_one_requires_enough_errors(num_errors):
    labels = np.zeros(500, int)
    logits = np.tile(np.array([3, 0], np.float32), (500, 1))
    # The errors are so small that a very low temperature would minimise the loss.
    logits[:num_errors] = [0, 0.01]
    fitted = fit_temperature(SINGLE, logits, labels)
    if num_errors < MIN_ERRORS:
        assert fitted == 1
    else:
        assert fitted < 0.9


def test_the_temperature_of_the_worked_example():
    logits = np.array([[2, 0]] * 4, np.float32)
    labels = np.array([0, 0, 0, 1])
    fitted = fit_temperature(SINGLE, logits, labels)
    assert fitted == pytest.approx(2 / np.log(3), rel=1e-9)


def test_one_confident_error_raises_the_temperature():
    logits = np.tile(np.array([9, 0], np.float32), (50, 1))
    labels = np.zeros(50, int)
    labels[0] = 1
    assert fit_temperature(SINGLE, logits, labels) > 2


@pytest.mark.parametrize("size", [np.float32(3e38), np.float32(1e-38)])
def test_logits_at_the_ends_of_fp32_have_a_temperature(size):
    logits = np.tile(np.array([size, -size], np.float32), (50, 1))
    labels = np.zeros(50, int)
    labels[:12] = 1
    fitted = fit_temperature(SINGLE, logits, labels)
    assert fitted == pytest.approx(2 * float(size) / np.log(38 / 12), rel=1e-6)


def test_a_small_loss_does_not_round_to_zero():
    single = row_losses(SINGLE, np.array([[50, 0]], np.float32), np.array([0]))
    multi = row_losses(MULTI, np.array([[50, -50]], np.float32), np.array([[1, 0]]))
    assert single == pytest.approx(np.exp(-50), rel=1e-9)
    assert multi == pytest.approx(np.exp(-50), rel=1e-9)


@few
@given(st.integers(0, 10**6), st.integers(2, 60))
def test_rounding_of_logits_changes_no_label_that_a_threshold_decides(seed, num_rows):
    random = np.random.default_rng(seed)
    shape = (num_rows, 3)
    # Many logits are nearly equal, as for the same text in batches of another size.
    logits = np.round(random.normal(size=shape), 1)
    logits = logits + 1e-7 * random.normal(size=shape)
    labels = random.integers(0, 2, shape)
    # A constant label would have the threshold 0.5.
    labels[:2] = [[0, 0, 0], [1, 1, 1]]
    values = probabilities(MULTI, logits)
    moved = probabilities(MULTI, logits + 1e-6 * random.uniform(-1, 1, shape))
    thresholds = np.array(tune_thresholds(values, labels))
    assert np.array_equal(values > thresholds, moved > thresholds)
