"""A row with probabilities counts as one row per label, weighted by its probability."""

import json

import numpy as np
import pytest
import torch
from closeness import assert_close
from files import load, write
from runs import (
    assert_exact,
    configure,
    resume,
    train_in,
    train_until_killed,
)
from scipy.stats import entropy
from tables import generated_rows, soft_table
from torch.nn import functional as F

from ostinato.config import EvaluateConfig, Task, TrainingConfig
from ostinato.errors import ConfigError, DataError
from ostinato.run.evaluate import evaluate
from ostinato.run_dir import RunDir, read_json
from ostinato.scoring.bootstrap import estimate
from ostinato.scoring.calibration import calibrate
from ostinato.scoring.predictions import load_distributions, load_predictions
from ostinato.scoring.scores import score
from ostinato.training.loss import build_loss

NAMES = ["a", "b", "c"]
SINGLE = Task.single_label
PROBABILITIES = torch.tensor(
    [[1, 0, 0], [0.5, 0.5, 0], [0.2, 0.3, 0.5], [0, 0.1, 0.9], [0.25, 0.5, 0.25]]
)
ROW_WEIGHTS = torch.tensor([1.0, 0.5, 3.0, 2.0, 1.0])
OPTIONS = [
    {},
    {"label_smoothing": 0.1},
    {"class_weights": {"b": 3}},
    {"class_weights": "balanced", "label_smoothing": 0.2},
]


def logits_of(num_rows):
    return torch.randn(num_rows, 3, generator=torch.Generator().manual_seed(0)) * 2


@pytest.mark.parametrize("row_weights", [None, ROW_WEIGHTS])
@pytest.mark.parametrize("options", OPTIONS)
def test_a_distribution_counts_as_one_weighted_row_per_label(options, row_weights):
    cfg = TrainingConfig(**options)
    weights = None if row_weights is None else row_weights.numpy()
    soft = build_loss(SINGLE, cfg, PROBABILITIES.numpy(), NAMES, weights)
    logits = logits_of(5).requires_grad_()
    mean = soft.total(logits, PROBABILITIES, row_weights)
    mean = mean / soft.weight(PROBABILITIES, row_weights)
    mean.backward()

    rows, labels = torch.arange(5).repeat_interleave(3), torch.arange(3).repeat(5)
    shares = PROBABILITIES.flatten()
    if row_weights is not None:
        shares = shares * row_weights[rows]
    hard = build_loss(SINGLE, cfg, labels.numpy(), NAMES, shares.numpy())
    expanded = logits.detach()[rows].requires_grad_()
    expected = hard.total(expanded, labels, shares) / hard.weight(labels, shares)
    expected.backward()

    assert_close(mean.detach(), expected.detach())
    assert_close(logits.grad, torch.zeros(5, 3).index_add(0, rows, expanded.grad))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_cross_entropy_of_torch(smoothing):
    cfg = TrainingConfig(label_smoothing=smoothing)
    loss = build_loss(SINGLE, cfg, PROBABILITIES.numpy(), NAMES)
    logits = logits_of(5)
    expected = F.cross_entropy(logits, PROBABILITIES, label_smoothing=smoothing)
    mean = loss.total(logits, PROBABILITIES) / loss.weight(PROBABILITIES)
    assert_close(mean, expected)


# --- metrics


def test_loss_kl_and_brier_compare_with_the_distributions():
    logits, true = logits_of(5).numpy(), PROBABILITIES.numpy()
    labels = true.argmax(axis=1)
    metrics = score(SINGLE, logits, labels, NAMES, distributions=true).metrics
    hard = score(SINGLE, logits, labels, NAMES).metrics
    predicted = torch.from_numpy(logits).double().softmax(1).numpy()

    kl = entropy(true.astype(float), predicted, axis=1).mean()
    brier = ((predicted - true) ** 2).sum(axis=1).mean()
    assert metrics["kl"] == pytest.approx(kl, rel=1e-6)
    assert metrics["brier"] == pytest.approx(brier, rel=1e-6)
    own = entropy(true.astype(float), axis=1).mean()
    assert metrics["loss"] == pytest.approx(kl + own, rel=1e-6)
    others = hard.keys() - {"loss", "brier"}
    assert {name: metrics[name] for name in others} == {
        name: hard[name] for name in others
    }
    assert "kl" not in hard


def test_distributions_of_one_label_give_the_metrics_of_labels():
    logits, labels = logits_of(5).numpy(), np.array([0, 1, 2, 0, 1])
    true = np.eye(3, dtype=np.float32)[labels]
    soft = score(SINGLE, logits, labels, NAMES, distributions=true).metrics
    hard = score(SINGLE, logits, labels, NAMES).metrics
    assert soft.pop("kl") == pytest.approx(hard["loss"], rel=1e-12)
    assert soft == pytest.approx(hard, rel=1e-12)
    fitted = [
        calibrate(SINGLE, logits, labels, NAMES, given).temperature
        for given in (true, None)
    ]
    assert fitted[0] == pytest.approx(fitted[1], rel=1e-9)


def test_the_intervals_are_around_the_metrics():
    generator = np.random.default_rng(0)
    true = generator.dirichlet([1, 1, 1], 80).astype(np.float32)
    logits = generator.normal(size=(80, 3)).astype(np.float32)
    labels = true.argmax(axis=1)
    found = estimate(SINGLE, logits, labels, distributions=true)
    metrics = score(SINGLE, logits, labels, NAMES, distributions=true).metrics
    for name in ("loss", "brier", "kl", "accuracy"):
        assert found[name].value == pytest.approx(metrics[name], rel=1e-12)
        assert found[name].low < metrics[name] < found[name].high


def test_the_temperature_minimises_the_loss_against_the_distributions():
    generator = np.random.default_rng(1)
    true = generator.dirichlet([2, 1, 1], 200).astype(np.float32)
    logits = (5 * np.log(true + 1e-3)).astype(np.float32)  # much too certain
    labels = true.argmax(axis=1)
    fitted = calibrate(SINGLE, logits, labels, NAMES, true)

    temperatures = np.linspace(1, 10, 901)
    divisors = torch.from_numpy(temperatures)[:, None, None]
    scaled = torch.from_numpy(logits).double()[None] / divisors
    losses = -(torch.from_numpy(true) * scaled.log_softmax(-1)).sum(-1).mean(-1)
    best = temperatures[int(losses.argmin())]
    assert fitted.temperature == pytest.approx(best, abs=0.01)
    assert fitted.loss[1] < fitted.loss[0]


# --- data

SOFT = [[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.25, 0.5, 0.25], [0.4, 0.4, 0.2]]
COLUMNS = {"b": "p_b", "c": "p_c", "a": "p_a"}


def soft_rows(probabilities=SOFT):
    rows = generated_rows("train", limit=len(probabilities))
    return [
        {"text": row["text"], **dict(zip(["p_a", "p_b", "p_c"], values, strict=True))}
        for row, values in zip(rows, probabilities, strict=True)
    ]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_every_format_and_both_forms_give_the_same_rows(suffix, tmp_path):
    by_column = write(tmp_path, f"t.{suffix}", soft_rows())
    data = load(train_path=by_column, val_path=by_column, label_distribution=COLUMNS)
    rows = [
        {"text": row["text"], "label": [row["p_c"], row["p_a"], row["p_b"]]}
        for row in soft_rows()
    ]
    if suffix in ("csv", "tsv"):
        for row in rows:
            row["label"] = "|".join(map(str, row["label"]))
    lists = write(tmp_path, f"lists.{suffix}", rows)
    same = load(train_path=lists, val_path=lists, label_distribution=["c", "a", "b"])

    assert data.labels == same.labels == ("a", "b", "c")
    assert data.train.sha256 == same.train.sha256
    assert np.array_equal(data.train.distributions, np.float32(SOFT))
    # The last row is a tie, which the first label in natural order wins.
    assert data.train.targets.tolist() == [0, 2, 1, 0]
    assert data.report["read"]["train"]["label_counts"] == {"a": 2, "b": 1, "c": 1}


def test_rounded_probabilities_are_divided_by_their_sum(tmp_path):
    path = write(tmp_path, "t.csv", soft_rows([[0.33, 0.33, 0.33], [0.504, 0.506, 0]]))
    data = load(train_path=path, val_path=path, label_distribution=COLUMNS)
    expected = np.float32([[1 / 3, 1 / 3, 1 / 3], [0.504 / 1.01, 0.506 / 1.01, 0]])
    assert np.array_equal(data.train.distributions, expected)
    assert data.train.targets.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("[0.5, 0.4]", "the probabilities sum to 0.9, not to 1"),
        ("[3, 2]", "the probability of 'a' is 3, not from 0 to 1"),
        ("[1, 1]", "the probabilities sum to 2, not to 1"),
        ("[1.005, -0.005]", "the probability of 'b' is -0.005, not from 0 to 1"),
        ("[0, 0]", "the probabilities sum to 0, not to 1"),
        ("[null, 1]", "the probability of 'a' is missing"),
        ("[NaN, 1]", "the probability of 'a' is missing"),
        ('"|1"', "the probability of 'a' is missing"),
        ('"0.5|x"', "the probability of 'b' is 'x', not a number"),
        ("[true, 0]", "the probability of 'a' is True, not a number"),
        ("[[1], 0]", "the probability of 'a' is [1], not a number"),
        ("[Infinity, 0]", "the probability of 'a' is inf, not from 0 to 1"),
        ("[0.5, 0.25, 0.25]", "3 probabilities where data.label_distribution has 2"),
        ("0.5", "the label 0.5 is not a list of probabilities"),
        ('{"a": 1, "b": 0}', "is not a list of probabilities"),
        ("null", "the label None is not a list of probabilities"),
    ],
)
def test_other_rows_are_refused_with_file_and_row(value, problem, tmp_path):
    file = tmp_path / "t.jsonl"
    good = '{"text": "x", "label": [0.5, 0.5]}\n'
    file.write_text(good + good + f'{{"text": "y", "label": {value}}}\n')
    with pytest.raises(DataError) as error:
        load(train_path=str(file), label_distribution=["a", "b"])
    message = str(error.value)
    assert message.startswith(f"{file}, line 3: ")
    assert problem in message
    assert "data.label_distribution" in message
    assert "\n" not in message


def test_the_digest_covers_the_probabilities(tmp_path):
    digests = set()
    for last in ([0.4, 0.4, 0.2], [0.4, 0.35, 0.25]):
        path = write(tmp_path, "t.csv", soft_rows([*SOFT[:3], last]))
        data = load(train_path=path, val_path=path, label_distribution=COLUMNS)
        digests |= {data.train.sha256, data.val.sha256}
    assert len(digests) == 2


def test_a_missing_column_is_named_with_its_key(tmp_path):
    path = write(tmp_path, "t.csv", soft_rows())
    with pytest.raises(DataError, match=r"'p_x' \(data\.label_distribution\.b\)"):
        load(train_path=path, label_distribution={"a": "p_a", "b": "p_x"})


def test_a_data_set_of_the_hub_has_distributions(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    write(folder, "train.parquet", soft_rows())
    options = {"label_distribution": COLUMNS, "val_split": "train"}
    data = load(source="hub", name=str(folder), **options)
    assert np.array_equal(data.train.distributions, np.float32(SOFT))


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["data.task=multi_label"], "only for data.task=single_label, not multi_label"),
        (["data.task=regression"], "only for data.task=single_label, not regression"),
        (["training.loss=focal"], "training.loss=focal: is not defined for data.label"),
        (["training.monitor=mse"], "training.monitor=mse: is not a metric"),
        (["data.source=generated"], "data.source=generated has no such column"),
    ],
)
def test_what_has_no_distribution_is_refused(overrides, problem):
    soft = ["data=files", "data.train_path=x.csv", "data.label_distribution=[a,b]"]
    with pytest.raises(ConfigError) as error:
        configure(*soft, *overrides)
    (line,) = error.value.problems
    assert problem in line


@pytest.mark.parametrize(
    "value", ["{}", "[]", "[a]", "[a,a]", "{a:x}", "x", "{a:1,b:2}", "{a:x,b:x}"]
)
def test_other_values_are_refused_in_one_line(value):
    with pytest.raises(ConfigError) as error:
        configure("data=files", "data.train_path=x", f"data.label_distribution={value}")
    (line,) = error.value.problems
    assert line.startswith("data.label_distribution=")
    assert "must be {label: column} or [label, ...]" in line


# --- runs


@pytest.mark.proof
@pytest.mark.usefixtures("preloaded_fork_server")
def test_a_soft_run_survives_a_kill_and_three_processes_compute_it(
    tmp_path, monkeypatch
):
    options = [
        *soft_table(tmp_path / "data"),
        *("training.accumulate=5", "training.batch_size=14"),
        *("training.class_weights=balanced", "training.label_smoothing=0.1"),
        "training.monitor=kl",
    ]
    whole, three = assert_exact(monkeypatch, tmp_path, *options)
    for name in ("val", "test"):
        path = whole.predictions(name)
        assert three.predictions(name).read_bytes() == path.read_bytes()


@pytest.fixture(scope="module")
def soft_run(tmp_path_factory):
    place = tmp_path_factory.mktemp("soft")
    return train_in(place / "run", *soft_table(place / "data"), report=True)


@pytest.mark.slow
def test_predictions_hold_the_distributions_and_give_the_metrics(soft_run):
    results = read_json(soft_run.results)
    for split in ("val", "test"):
        path = soft_run.predictions(split)
        logits, labels = load_predictions(path)
        distributions = load_distributions(path)
        assert np.array_equal(labels, distributions.argmax(axis=1))
        names = results["labels"]
        scores = score(SINGLE, logits, labels, names, distributions=distributions)
        for name in ("loss", "kl", "brier", "accuracy"):
            assert scores.metrics[name] == results[split][name]


@pytest.mark.slow
def test_evaluate_gives_the_metrics_of_training_to_the_last_digit(soft_run):
    config, _ = configure(*soft_table(soft_run.path.parent / "data"))
    cfg = EvaluateConfig(run=str(soft_run.path), split="test")
    assert evaluate(cfg, soft_run, config) == read_json(soft_run.results)["test"]
    path = str(soft_run.path.parent / "data" / "test.jsonl")
    cfg = EvaluateConfig(run=str(soft_run.path), path=path)
    found = evaluate(cfg, soft_run, config)
    assert found == read_json(soft_run.results)["test"]


@pytest.mark.slow
def test_the_report_shows_the_divergence_with_its_interval(soft_run):
    page = soft_run.report.read_text()
    kl = read_json(soft_run.results)["test"]["kl"]
    assert "KL divergence" in page
    assert f"{kl:.4f}" in page


@pytest.mark.slow
def test_changed_probabilities_are_drift(tmp_path, monkeypatch):
    options = [*soft_table(tmp_path / "data"), "training.checkpoint_every=1"]
    run = RunDir(tmp_path / "run")
    train_until_killed(monkeypatch, 2, run.path, *options)
    file = tmp_path / "data" / "val.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[0]["p_sport"], lines[0]["p_weather"] = 0.5, 0.0
    lines[0]["p_cooking"] = 0.5
    file.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(ConfigError, match=r"data\.val"):
        resume(run, *options)
