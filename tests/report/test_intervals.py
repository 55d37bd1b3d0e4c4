"""The intervals of a report: bootstrap estimates of the metrics."""

import numpy as np
import pytest

from ostinato.config import Task
from ostinato.scoring import bootstrap
from ostinato.scoring.bootstrap import estimate
from ostinato.scoring.scores import score


def random_predictions(task, num_rows):
    """Logits and labels of a task."""
    random = np.random.default_rng(num_rows)
    num_outputs = 1 if task is Task.regression else 4
    logits = random.normal(size=(num_rows, num_outputs)).astype(np.float32)
    if task is Task.single_label:
        labels = random.integers(0, 3, num_rows)
    elif task is Task.multi_label:
        labels = (random.random((num_rows, 4)) < 0.4).astype(np.float32)
    else:
        noise = random.normal(size=num_rows)
        labels = (logits[:, 0] + noise).astype(np.float32)
    return logits, labels


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("num_rows", [1, 7, 300])
def test_estimates_equal_the_metrics_and_lie_inside_their_intervals(task, num_rows):
    logits, labels = random_predictions(task, num_rows)
    metrics = score(task, logits, labels, list("abcd")).metrics
    found = estimate(task, logits, labels)
    values = {name: e.value for name, e in found.items()}
    assert values == pytest.approx({name: metrics[name] for name in found})
    assert set(metrics) - set(found) <= {"auroc", "map", "spearman"}
    assert found == estimate(task, logits, labels)
    if num_rows == 300:
        for name, e in found.items():
            assert e.low < e.value < e.high or name == "ece"


def test_the_interval_of_accuracy_agrees_with_its_formula():
    labels = np.repeat([0, 1], [700, 300])
    logits = np.tile(np.array([[1, 0]], np.float32), (1000, 1))
    accuracy = estimate(Task.single_label, logits, labels)["accuracy"]
    half = 1.96 * np.sqrt(0.7 * 0.3 / 1000)
    expected = (0.7 - half, 0.7 + half)
    assert (accuracy.low, accuracy.high) == pytest.approx(expected, abs=0.004)


def test_resampling_in_chunks_gives_the_same_intervals(monkeypatch):
    labels = np.random.default_rng(0).integers(0, 2, 500)
    logits = np.eye(2, dtype=np.float32)[labels] * np.float32(0.3)
    whole = estimate(Task.single_label, logits, labels)
    monkeypatch.setattr(bootstrap, "_CHUNK", 1000)  # two samples at a time
    assert estimate(Task.single_label, logits, labels) == whole
