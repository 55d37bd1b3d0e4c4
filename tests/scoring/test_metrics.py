"""Metrics are those of the libraries, finite or named as undefined, and indifferent to the order of rows and labels."""

import math
import warnings

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from sklearn import metrics as sk
from torch.nn import functional

from ostinato.config import METRICS, Task
from ostinato.scoring.calibration_error import expected_calibration_error
from ostinato.scoring.metrics import (
    default_monitor,
    is_better,
    probabilities,
)
from ostinato.scoring.scores import score

# Each example calls a dozen library functions of milliseconds each.
few = settings(max_examples=25)

FINITE = st.floats(-30, 30, width=32)
CLOSE = {"rel": 1e-11, "abs": 1e-12}  # another order of adding up moves the last digits


def names_of(num_labels):
    return [f"class {i}" for i in range(num_labels)]


@st.composite
def single_label(draw):
    """Logits and class ids; classes may be absent from either, and all rows may be predicted alike."""
    num_rows, num_classes = draw(st.integers(1, 25)), draw(st.integers(2, 6))
    logits = draw(hnp.arrays(np.float32, (num_rows, num_classes), elements=FINITE))
    if draw(st.booleans()):
        logits[:, draw(st.integers(0, num_classes - 1))] += np.float32(100)
    labels = draw(
        hnp.arrays(
            np.int64,
            num_rows,
            elements=st.integers(0, draw(st.integers(0, num_classes - 1))),
        )
    )
    return logits, labels


@st.composite
def without_ties(draw):
    """As above, but moderate logits of which no two lie close: rounding can neither make a tie nor break one."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    num_rows, num_classes = draw(st.integers(1, 25)), draw(st.integers(2, 6))
    logits = random.uniform(-5, 5, (num_rows, num_classes)).astype(np.float32)
    return logits, random.integers(0, draw(st.integers(1, num_classes)), num_rows)


@st.composite
def multi_label(draw):
    shape = draw(st.tuples(st.integers(1, 25), st.integers(2, 6)))
    labels = draw(hnp.arrays(np.float32, shape, elements=st.sampled_from([0, 1])))
    if draw(st.booleans()):
        labels[:, 0] = draw(st.sampled_from([0, 1]))
    return draw(hnp.arrays(np.float32, shape, elements=FINITE)), labels


@st.composite
def regression(draw):
    num_rows = draw(st.integers(1, 25))
    elements = st.one_of(FINITE, st.just(1.5))
    return tuple(
        draw(hnp.arrays(np.float32, num_rows, elements=elements, fill=st.just(0.1)))
        for _ in range(2)
    )


CASES = st.one_of(
    st.tuples(st.just(Task.single_label), single_label()),
    st.tuples(st.just(Task.multi_label), multi_label()),
    st.tuples(st.just(Task.regression), regression()),
)


def width(logits):
    return 1 if logits.ndim == 1 else logits.shape[1]


@few
@given(CASES)
def test_every_metric_is_a_finite_number_or_named_as_undefined(case):
    task, (logits, labels) = case
    with warnings.catch_warnings():
        warnings.simplefilter(
            "error"
        )  # a library that warns of an undefined metric was asked for one
        scores = score(task, logits, labels, names_of(width(logits)))
    numbers = [
        *scores.metrics.values(),
        *scores.majority.values(),
        *(v for r in scores.per_class.values() for v in r.values()),
    ]
    assert all(
        type(number) in (float, int) and math.isfinite(number) for number in numbers
    )
    assert [*scores.metrics, *scores.undefined] == sorted(
        METRICS[task], key=lambda n: (n in scores.undefined, METRICS[task].index(n))
    )
    assert default_monitor(task) in scores.metrics


@pytest.mark.slow
@few
@given(single_label())
def test_single_label_metrics_agree_with_scikit_learn(case):
    logits, labels = case
    num_classes = logits.shape[1]
    values = probabilities(Task.single_label, logits)
    predicted = values.argmax(axis=1)
    scores = score(Task.single_label, logits, labels, names_of(num_classes))
    classes = range(num_classes)
    loss = functional.cross_entropy(
        torch.tensor(logits).double(), torch.tensor(labels)
    )  # scikit-learn's clips
    assert scores.metrics["loss"] == pytest.approx(loss.item(), **CLOSE)
    assert scores.metrics["accuracy"] == sk.accuracy_score(labels, predicted)
    for average in ("macro", "micro", "weighted"):
        assert scores.metrics[f"{average}_f1"] == sk.f1_score(
            labels, predicted, average=average, zero_division=0
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert scores.metrics["mcc"] == sk.matthews_corrcoef(labels, predicted)
    assert np.array_equal(
        scores.confusion, sk.confusion_matrix(labels, predicted, labels=classes)
    )
    columns = sk.precision_recall_fscore_support(
        labels, predicted, labels=classes, zero_division=0
    )
    for name, *row in zip(names_of(num_classes), *columns, strict=True):
        assert [
            scores.per_class[name][key]
            for key in ("precision", "recall", "f1", "support")
        ] == row


@few
@given(single_label())
def test_auroc_is_scikit_learns_where_all_classes_occur_and_averages_the_defined_ones_where_not(
    case,
):
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
        expected = np.mean(
            [sk.roc_auc_score(labels == c, values[:, c]) for c in occurring]
        )
        assert scores.metrics["auroc"] == pytest.approx(expected, **CLOSE)


@few
@given(multi_label(), st.sampled_from([0.3, 0.5, 0.9]))
def test_multi_label_metrics_agree_with_scikit_learn(case, threshold):
    logits, labels = case
    values = 1 / (1 + np.exp(-logits.astype(np.float64)))
    predicted = values > threshold
    scores = score(
        Task.multi_label, logits, labels, names_of(logits.shape[1]), threshold
    )
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
    a, b = labels.astype(np.float64), predicted.astype(np.float64)
    assert (
        scores.metrics["loss"] == scores.metrics["mse"] == sk.mean_squared_error(a, b)
    )
    assert scores.metrics["mae"] == sk.mean_absolute_error(a, b)
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert scores.undefined == ("pearson", "spearman")
    else:
        assert scores.metrics["pearson"] == pearsonr(a, b).statistic
        assert scores.metrics["spearman"] == spearmanr(a, b).statistic
    assert scores.majority["mse"] == pytest.approx(
        sk.mean_squared_error(a, np.full_like(a, a.mean())), **CLOSE
    )


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


@few
@given(
    st.lists(
        st.tuples(
            st.one_of(st.floats(0.01, 1), st.sampled_from([0.5, 1.0])), st.booleans()
        ),
        min_size=1,
    )
)
def test_ece_is_the_definition_spelt_out(rows):
    confidence, correct = np.array([c for c, _ in rows]), np.array([r for _, r in rows])
    for num_bins in (1, 4, 15):
        if not np.isin(confidence * num_bins % 1, 0).any() or num_bins in (
            1,
            4,
        ):  # fifteenths are no exact floats
            expected = slow_ece(confidence.tolist(), correct.tolist(), num_bins)
            assert expected_calibration_error(
                confidence, correct, num_bins
            ) == pytest.approx(expected, **CLOSE)


@few
@given(single_label())
def test_brier_is_the_squared_distance_from_the_one_hot_label(case):
    logits, labels = case
    total = 0.0
    for row, label in zip(logits.astype(float).tolist(), labels.tolist(), strict=True):
        exps = [math.exp(x - max(row)) for x in row]
        total += sum((e / sum(exps) - (c == label)) ** 2 for c, e in enumerate(exps))
    metrics = score(
        Task.single_label, logits, labels, names_of(logits.shape[1])
    ).metrics
    assert metrics["brier"] == pytest.approx(total / len(labels), **CLOSE)


@few
@given(CASES, st.randoms(use_true_random=False))
def test_the_order_of_rows_is_nothing(case, random):
    task, (logits, labels) = case
    order = random.sample(range(len(labels)), len(labels))
    names = names_of(width(logits))
    one, other = (
        score(task, logits, labels, names),
        score(task, logits[order], labels[order], names),
    )
    assert other.metrics == pytest.approx(one.metrics, **CLOSE)
    assert other.undefined == one.undefined
    assert other.majority == pytest.approx(one.majority, **CLOSE)
    for name, row in one.per_class.items():
        assert other.per_class[name] == pytest.approx(row, **CLOSE)


@pytest.mark.slow
@few
@given(without_ties(), st.randoms(use_true_random=False))
def test_the_order_of_labels_is_nothing(case, random):
    logits, labels = case
    num_classes = logits.shape[1]
    order = random.sample(range(num_classes), num_classes)
    names = names_of(num_classes)
    one = score(Task.single_label, logits, labels, names)
    new_ids = np.argsort(order)
    other = score(
        Task.single_label, logits[:, order], new_ids[labels], [names[i] for i in order]
    )
    assert other.metrics == pytest.approx(one.metrics, **CLOSE)
    assert other.majority == pytest.approx(one.majority, **CLOSE)
    for name, row in one.per_class.items():
        assert other.per_class[name] == pytest.approx(row, **CLOSE)
    assert np.array_equal(other.confusion, one.confusion[np.ix_(order, order)])


@few
@given(single_label())
def test_the_majority_line_is_the_best_constant_accuracy(case):
    logits, labels = case
    majority = score(
        Task.single_label, logits, labels, names_of(logits.shape[1])
    ).majority
    assert majority["accuracy"] == max(
        np.mean(labels == c) for c in range(logits.shape[1])
    )


def test_a_confidently_wrong_row_keeps_its_whole_loss():
    logits = np.array([[500.0, 0.0]], dtype=np.float32)
    assert (
        score(Task.single_label, logits, np.array([1]), ["a", "b"]).metrics["loss"]
        == 500
    )


def test_the_majority_of_multi_label_rows_is_their_commonest_set():
    labels = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 1]], dtype=np.float32)
    majority = score(
        Task.multi_label, np.zeros((3, 3), np.float32), labels, names_of(3)
    ).majority
    assert majority["micro_f1"] == pytest.approx(2 * 2 / (3 + 4))


@few
@given(CASES)
def test_probabilities_of_a_row_do_not_depend_on_the_rows_beside_it(case):
    task, (logits, _) = case
    whole = probabilities(task, logits)
    alone = np.concatenate(
        [probabilities(task, logits[i : i + 1]) for i in range(len(logits))]
    )
    assert np.array_equal(whole, alone)


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
def test_better_is_by_at_least_min_delta_in_the_metrics_own_direction(
    name, new, old, min_delta, better
):
    assert is_better(name, new, old, min_delta) is better
