"""Metrics are finite or named as undefined, and do not depend on the order of rows."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from metric_cases import CASES, CLOSE, few, names_of, single_label, width, without_ties

from ostinato.config import METRICS, Task
from ostinato.scoring.metrics import default_monitor, is_better, probabilities
from ostinato.scoring.scores import score


@few
@given(CASES)
def test_every_metric_is_a_finite_number_or_named_as_undefined(case):
    task, (logits, labels) = case
    with warnings.catch_warnings():
        # A warning would mean that a library computed an undefined metric.
        warnings.simplefilter("error")
        scores = score(task, logits, labels, names_of(width(logits)))
    numbers = [*scores.metrics.values(), *scores.majority.values()]
    for row in scores.per_class.values():
        numbers += row.values()
    for number in numbers:
        assert type(number) in (float, int)
        assert math.isfinite(number)
    assert [*scores.metrics, *scores.undefined] == sorted(
        METRICS[task], key=lambda n: (n in scores.undefined, METRICS[task].index(n))
    )
    assert default_monitor(task) in scores.metrics


def assert_close(one, other):
    assert other.metrics == pytest.approx(one.metrics, **CLOSE)
    assert other.undefined == one.undefined
    assert other.majority == pytest.approx(one.majority, **CLOSE)
    for name, row in one.per_class.items():
        assert other.per_class[name] == pytest.approx(row, **CLOSE)


@pytest.mark.slow
@few
@given(CASES, st.randoms(use_true_random=False))
def test_scores_do_not_depend_on_the_order_of_rows(case, random):
    task, (logits, labels) = case
    order = random.sample(range(len(labels)), len(labels))
    names = names_of(width(logits))
    one = score(task, logits, labels, names)
    other = score(task, logits[order], labels[order], names)
    assert_close(one, other)


@pytest.mark.slow
@few
@given(without_ties(), st.randoms(use_true_random=False))
def test_scores_do_not_depend_on_the_order_of_labels(case, random):
    logits, labels = case
    num_classes = logits.shape[1]
    order = random.sample(range(num_classes), num_classes)
    names = names_of(num_classes)
    one = score(Task.single_label, logits, labels, names)
    new_ids = np.argsort(order)
    new_names = [names[i] for i in order]
    other = score(Task.single_label, logits[:, order], new_ids[labels], new_names)
    assert_close(one, other)
    assert np.array_equal(other.confusion, one.confusion[np.ix_(order, order)])


@few
@given(single_label())
def test_the_majority_accuracy_is_the_best_constant_accuracy(case):
    logits, labels = case
    num_classes = logits.shape[1]
    scores = score(Task.single_label, logits, labels, names_of(num_classes))
    shares = [np.mean(labels == c) for c in range(num_classes)]
    assert scores.majority["accuracy"] == max(shares)


def test_a_confidently_wrong_row_keeps_its_whole_loss():
    logits = np.array([[500.0, 0.0]], dtype=np.float32)
    scores = score(Task.single_label, logits, np.array([1]), ["a", "b"])
    assert scores.metrics["loss"] == 500


def test_the_majority_of_multi_label_rows_is_the_most_frequent_set():
    labels = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 1]], dtype=np.float32)
    logits = np.zeros((3, 3), np.float32)
    majority = score(Task.multi_label, logits, labels, names_of(3)).majority
    assert majority["micro_f1"] == pytest.approx(2 * 2 / (3 + 4))


@few
@given(CASES)
def test_probabilities_of_a_row_do_not_depend_on_other_rows(case):
    task, (logits, _) = case
    together = probabilities(task, logits)
    single = [probabilities(task, logits[i : i + 1]) for i in range(len(logits))]
    assert np.array_equal(together, np.concatenate(single))


@pytest.mark.parametrize(
    ("name", "new", "old", "min_delta", "better"),
    [
        ("accuracy", 0.9, 0.8, 0.0, True),
        ("accuracy", 0.8, 0.8, 0.0, False),
        ("accuracy", 0.75, 0.5, 0.25, True),
        ("accuracy", 0.7, 0.5, 0.25, False),
        ("loss", 0.8, 0.9, 0.0, True),
        ("loss", 0.9, 0.8, 0.0, False),
        ("mse", math.nan, 0.8, 0.0, False),
    ],
)
def test_better_means_by_at_least_min_delta_in_the_direction_of_the_metric(
    name, new, old, min_delta, better
):
    assert is_better(name, new, old, min_delta) is better
