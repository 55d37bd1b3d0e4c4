"""Losses and label weights, compared with torch, scikit-learn and plain formulas."""

import math

import numpy as np
import pytest
import torch
from closeness import assert_close
from runs import configure, train_in
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from ostinato.config import Task, TrainingConfig
from ostinato.errors import ConfigError
from ostinato.run_dir import read_json
from ostinato.training.loss import build_loss

NAMES = ["a", "b", "c"]
CLASSES = np.array([0, 0, 0, 0, 1, 2])
SETS = np.array(
    [[1, 0, 1], [1, 0, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=np.float32
)


def loss_of(task, labels, **options):
    cfg = TrainingConfig(**options)
    return build_loss(task, cfg, labels, [] if task is Task.regression else NAMES)


def mean(loss, logits, labels):
    return loss.total(logits, labels) / loss.weight(labels)


def logits_for(labels):
    generator = torch.Generator().manual_seed(0)
    width = 1 if labels.ndim == 1 and labels.dtype != np.int64 else 3
    return torch.randn(len(labels), width, generator=generator)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    ("choice", "weights"),
    [
        ("none", None),
        ("balanced", [0.5, 2.0, 2.0]),
        ("sqrt", [math.sqrt(0.5), math.sqrt(2.0), math.sqrt(2.0)]),
        ({"b": 3, "a": 0.25}, [0.25, 3.0, 1.0]),
    ],
)
def test_class_weights_and_smoothing_equal_those_of_torch(choice, weights, smoothing):
    options = {"class_weights": choice, "label_smoothing": smoothing}
    loss = loss_of(Task.single_label, CLASSES, **options)
    logits, targets = logits_for(CLASSES), torch.from_numpy(CLASSES)
    expected = F.cross_entropy(
        logits,
        targets,
        None if weights is None else torch.tensor(weights),
        label_smoothing=smoothing,
    )
    assert_close(mean(loss, logits, targets), expected)


def test_balanced_weights_equal_those_of_scikit_learn():
    loss = loss_of(Task.single_label, CLASSES, class_weights="balanced")
    expected = compute_class_weight("balanced", classes=np.arange(3), y=CLASSES)
    assert loss.label_weights.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("choice", "weights"),
    [
        ("none", [1.0, 1.0, 1.0]),
        ("balanced", [1 / 4, 4.0, 4.0]),
        ("sqrt", [1 / 2, 2.0, 2.0]),
        ({"c": 7}, [1.0, 1.0, 7.0]),
    ],
)
def test_pos_weight_equals_that_of_torch(choice, weights):
    loss = loss_of(Task.multi_label, SETS, pos_weight=choice)
    logits, targets = logits_for(SETS), torch.from_numpy(SETS)
    expected = F.binary_cross_entropy_with_logits(
        logits, targets, pos_weight=torch.tensor(weights)
    )
    assert_close(mean(loss, logits, targets), expected)


def test_a_label_with_all_rows_or_none_has_a_finite_positive_weight():
    labels = np.array([[1, 0], [1, 0]], dtype=np.float32)
    cfg = TrainingConfig(pos_weight="balanced")
    loss = build_loss(Task.multi_label, cfg, labels, ["always", "never"])
    assert loss.label_weights.tolist() == [0.5, 2.0]


@pytest.mark.parametrize("gamma", [1.0, 2.0, 3.5])
def test_focal_loss_of_classes_is_the_formula_of_the_paper(gamma):
    loss = loss_of(
        Task.single_label,
        CLASSES,
        loss="focal",
        focal_gamma=gamma,
        class_weights={"b": 3},
    )
    logits, targets = logits_for(CLASSES), torch.from_numpy(CLASSES)
    p = logits.double().softmax(1)[torch.arange(6), targets].numpy()
    weights = np.array([1.0, 3.0, 1.0])[CLASSES]
    expected = (weights * (1 - p) ** gamma * -np.log(p)).sum() / weights.sum()
    assert_close(mean(loss, logits, targets), torch.tensor(expected).float())


@pytest.mark.parametrize("gamma", [1.0, 2.0, 3.5])
def test_focal_loss_of_label_sets_is_the_formula_of_the_paper(gamma):
    loss = loss_of(
        Task.multi_label,
        SETS,
        loss="focal",
        focal_gamma=gamma,
        pos_weight={"a": 0.5},
    )
    logits, targets = logits_for(SETS), torch.from_numpy(SETS)
    positive = logits.double().sigmoid().numpy()
    p = np.where(SETS > 0, positive, 1 - positive)
    weights = np.where(SETS > 0, np.array([0.5, 1.0, 1.0]), 1.0)
    expected = (weights * (1 - p) ** gamma * -np.log(p)).mean()
    assert_close(mean(loss, logits, targets), torch.tensor(expected).float())


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize(("task", "labels"), [(Task.single_label, CLASSES)])
def test_focal_gradients_are_finite_for_any_logits(task, labels, scale):
    loss = loss_of(task, labels, loss="focal", focal_gamma=1.0)
    logits = (logits_for(labels) * scale).requires_grad_()
    loss.total(logits, torch.from_numpy(labels)).backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("options", "function"),
    [
        ({}, F.mse_loss),
        ({"loss": "mse"}, F.mse_loss),
        ({"loss": "mae"}, F.l1_loss),
        (
            {"loss": "huber", "huber_delta": 0.5},
            lambda values, targets: F.huber_loss(values, targets, delta=0.5),
        ),
    ],
)
def test_losses_of_regression_equal_those_of_torch(options, function):
    labels = np.array([0.1, -2.0, 3.0], dtype=np.float32)
    loss = loss_of(Task.regression, labels, **options)
    values, targets = logits_for(labels), torch.from_numpy(labels)
    assert_close(mean(loss, values, targets), function(values[:, 0], targets))


@pytest.mark.parametrize(
    ("task", "options", "problem"),
    [
        (Task.regression, {"loss": "focal"}, "training.loss=focal: not for"),
        (Task.single_label, {"loss": "mse"}, "use cross_entropy or focal"),
        (Task.multi_label, {"class_weights": "sqrt"}, "training.class_weights: only"),
        (Task.single_label, {"pos_weight": "sqrt"}, "training.pos_weight: only for"),
        (Task.regression, {"label_smoothing": 0.1}, "training.label_smoothing: only"),
        (Task.single_label, {"focal_gamma": 3}, "only with training.loss=focal"),
        (Task.regression, {"huber_delta": 3}, "only with training.loss=huber"),
        (
            Task.single_label,
            {"loss": "focal", "label_smoothing": 0.1},
            "not with training.loss=focal",
        ),
        (
            Task.single_label,
            {"class_weights": {"d": 2}},
            "training.class_weights: no label d; the labels are a, b, c",
        ),
    ],
)
def test_an_option_without_effect_is_refused(task, options, problem):
    labels = {Task.single_label: CLASSES, Task.multi_label: SETS}.get(task, np.ones(3))
    with pytest.raises(ConfigError) as error:
        loss_of(task, labels, **options)
    assert problem in str(error.value)


@pytest.mark.parametrize(
    "value",
    [
        "{}",
        "nosuch",
        "[1]",
        "{a:0}",
        "{a:-1}",
        "{a:1e-50}",
        "{a:1e39}",
        "{a:x}",
        "{a:true}",
        "2",
    ],
)
@pytest.mark.parametrize("key", ["class_weights", "pos_weight"])
def test_other_weights_are_refused_in_one_line(key, value):
    with pytest.raises(ConfigError) as error:
        configure(f"training.{key}={value}")
    (line,) = error.value.problems
    assert line.startswith(f"training.{key}=")
    assert "must be one of none, balanced, sqrt, or {label: weight}" in line


def test_typed_labels_have_the_names_that_labels_have_in_data():
    config, _ = configure("training.class_weights={true:2,5.0:3,other:4}")
    assert config.training.class_weights == {"true": 2.0, "5": 3.0, "other": 4.0}


@pytest.mark.slow
def test_a_run_trains_with_typed_weights_and_records_them(tmp_path):
    labels = read_json(train_in(tmp_path / "plain").results)["labels"]
    weights = f"training.class_weights={{{labels[0]}:4}}"
    run = train_in(tmp_path / "weighted", "training.loss=focal", weights)
    assert f"{labels[0]}: 4" in run.config.read_text()
    resumed = train_in(run.path, "training.loss=focal", weights, "resume.run=auto")
    assert read_json(resumed.results)["status"] == "finished"
