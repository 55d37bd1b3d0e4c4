"""Metrics agree with scikit-learn, scipy and torch, or with their definitions."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from metric_cases import CLOSE, few, multi_label, names_of, regression, single_label
from scipy.stats import pearsonr, spearmanr
from sklearn import metrics as sk
from torch.nn import functional

from ostinato.config import Task
from ostinato.scoring.calibration_error import expected_calibration_error
from ostinato.scoring.metrics import probabilities
from ostinato.scoring.scores import score


@pytest.mark.slow
@few
@given(single_label())
def test_single_label_metrics_agree_with_scikit_learn(case):
    logits, labels = case
    num_classes = logits.shape[1]
    classes = range(num_classes)
    predicted = probabilities(Task.single_label, logits).argmax(axis=1)
    scores = score(Task.single_label, logits, labels, names_of(num_classes))
    # scikit-learn clips the loss, torch does not.
    loss = functional.cross_entropy(torch.tensor(logits).double(), torch.tensor(labels))
    assert scores.metrics["loss"] == pytest.approx(loss.item(), **CLOSE)
    assert scores.metrics["accuracy"] == sk.accuracy_score(labels, predicted)
    for average in ("macro", "micro", "weighted"):
        assert scores.metrics[f"{average}_f1"] == sk.f1_score(
            labels, predicted, average=average, zero_division=0
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert scores.metrics["mcc"] == sk.matthews_corrcoef(labels, predicted)
    confusion = sk.confusion_matrix(labels, predicted, labels=classes)
    assert np.array_equal(scores.confusion, confusion)
    columns = sk.precision_recall_fscore_support(
        labels, predicted, labels=classes, zero_division=0
    )
    for name, *expected in zip(names_of(num_classes), *columns, strict=True):
        row = scores.per_class[name]
        found = [row[key] for key in ("precision", "recall", "f1", "support")]
        assert found == expected


@few
@given(single_label())
def test_auroc_agrees_with_scikit_learn_and_averages_the_defined_classes(case):
    logits, labels = case
    num_classes = logits.shape[1]
    values = probabilities(Task.single_label, logits)
    scores = score(Task.single_label, logits, labels, names_of(num_classes))
    occurring = np.unique(labels)
    if len(occurring) == 1:
        assert "auroc" in scores.undefined
        assert not any("auroc" in row for row in scores.per_class.values())
    elif num_classes == 2:
        assert scores.metrics["auroc"] == sk.roc_auc_score(labels, values[:, 1])
    elif len(occurring) == num_classes:
        expected = sk.roc_auc_score(labels, values, multi_class="ovr")
        assert scores.metrics["auroc"] == pytest.approx(expected, **CLOSE)
    else:
        areas = [sk.roc_auc_score(labels == c, values[:, c]) for c in occurring]
        assert scores.metrics["auroc"] == pytest.approx(np.mean(areas), **CLOSE)


@pytest.mark.slow
@few
@given(multi_label(), st.sampled_from([0.3, 0.5, 0.9]))
def test_multi_label_metrics_agree_with_scikit_learn(case, threshold):
    logits, labels = case
    names = names_of(logits.shape[1])
    values = 1 / (1 + np.exp(-logits.astype(np.float64)))
    predicted = values > threshold
    scores = score(Task.multi_label, logits, labels, names, threshold)
    loss = functional.binary_cross_entropy_with_logits(
        torch.tensor(logits).double(), torch.tensor(labels).double()
    )
    assert scores.metrics["loss"] == pytest.approx(loss.item(), **CLOSE)
    for average in ("macro", "micro"):
        assert scores.metrics[f"{average}_f1"] == sk.f1_score(
            labels, predicted, average=average, zero_division=0
        )
    assert scores.metrics["subset_accuracy"] == sk.accuracy_score(labels, predicted)
    occurring = np.flatnonzero(labels.any(axis=0))
    if len(occurring):
        expected = sk.average_precision_score(
            labels[:, occurring], logits[:, occurring], average="macro"
        )
        assert scores.metrics["map"] == pytest.approx(expected, **CLOSE)
    else:
        assert scores.undefined == ("map",)


@few
@given(regression())
def test_regression_metrics_agree_with_scikit_learn_and_scipy(case):
    predicted, labels = case
    scores = score(Task.regression, predicted[:, None], labels, ())
    a = labels.astype(np.float64)
    b = predicted.astype(np.float64)
    assert scores.metrics["loss"] == scores.metrics["mse"]
    assert scores.metrics["mse"] == sk.mean_squared_error(a, b)
    assert scores.metrics["mae"] == sk.mean_absolute_error(a, b)
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert scores.undefined == ("pearson", "spearman")
    else:
        assert scores.metrics["pearson"] == pearsonr(a, b).statistic
        assert scores.metrics["spearman"] == spearmanr(a, b).statistic
    constant = np.full_like(a, a.mean())
    majority = sk.mean_squared_error(a, constant)
    assert scores.majority["mse"] == pytest.approx(majority, **CLOSE)


def slow_ece(confidence, correct, num_bins):
    error = 0.0
    for m in range(num_bins):
        low, high = m / num_bins, (m + 1) / num_bins
        inside = [i for i, c in enumerate(confidence) if low < c <= high]
        if inside:
            accuracy = sum(bool(correct[i]) for i in inside) / len(inside)
            mean_confidence = sum(confidence[i] for i in inside) / len(inside)
            error += len(inside) / len(confidence) * abs(accuracy - mean_confidence)
    return error


CONFIDENCES = st.one_of(st.floats(0.01, 1), st.sampled_from([0.5, 1.0]))


@few
@given(st.lists(st.tuples(CONFIDENCES, st.booleans()), min_size=1))
def test_ece_agrees_with_its_definition(rows):
    confidence = np.array([c for c, _ in rows])
    correct = np.array([r for _, r in rows])
    for num_bins in (1, 4, 15):
        is_on_an_edge = np.isin(confidence * num_bins % 1, 0).any()
        if num_bins == 15 and is_on_an_edge:
            continue  # The edges of 15 bins are not exact in floating point.
        expected = slow_ece(confidence.tolist(), correct.tolist(), num_bins)
        found = expected_calibration_error(confidence, correct, num_bins)
        assert found == pytest.approx(expected, **CLOSE)


@few
@given(single_label())
def test_brier_is_the_squared_distance_from_the_one_hot_label(case):
    logits, labels = case
    total = 0.0
    for row, label in zip(logits.astype(float).tolist(), labels.tolist(), strict=True):
        exps = [math.exp(x - max(row)) for x in row]
        for c, e in enumerate(exps):
            total += (e / sum(exps) - (c == label)) ** 2
    names = names_of(logits.shape[1])
    metrics = score(Task.single_label, logits, labels, names).metrics
    assert metrics["brier"] == pytest.approx(total / len(labels), **CLOSE)
