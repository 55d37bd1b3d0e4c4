"""A row of weight k counts as k rows, and a row of weight 0 as none."""

import json

import numpy as np
import pytest
import torch
from closeness import assert_close
from files import load, write
from runs import (
    assert_exact,
    configure,
    fingerprint,
    resume,
    train_in,
    train_until_killed,
)
from tables import generated_rows, weighted_table
from torch.nn import functional as F

from ostinato.config import Task, TrainingConfig
from ostinato.errors import ConfigError, DataError
from ostinato.run_dir import RunDir, read_json
from ostinato.training.loss import build_loss

REPEATS = torch.tensor([2, 0, 1, 5, 3, 1])
LABELS = {
    Task.single_label: torch.tensor([0, 1, 2, 2, 1, 0]),
    Task.multi_label: torch.tensor([[1.0, 0, 1], [0, 0, 0]]).repeat(3, 1),
    Task.regression: torch.tensor([0.5, -1, 2, 0, 1, 3]),
}
OPTIONS = [
    (Task.single_label, {}),
    (Task.single_label, {"label_smoothing": 0.1}),
    (Task.single_label, {"class_weights": {"a": 3}, "label_smoothing": 0.2}),
    (Task.single_label, {"class_weights": {"b": 0.25}, "loss": "focal"}),
    (Task.multi_label, {}),
    (Task.multi_label, {"pos_weight": {"a": 3}}),
    (Task.multi_label, {"pos_weight": {"c": 7}, "loss": "focal", "focal_gamma": 1}),
    (Task.regression, {}),
    (Task.regression, {"loss": "mae"}),
    (Task.regression, {"loss": "huber", "huber_delta": 0.5}),
]


def loss_of(task, options):
    names = [] if task is Task.regression else ["a", "b", "c"]
    return build_loss(task, TrainingConfig(**options), LABELS[task].numpy(), names)


def logits_of(task):
    width = 1 if task is Task.regression else 3
    return torch.randn(6, width, generator=torch.Generator().manual_seed(0))


def mean_and_gradient(loss, logits, labels, weights=None):
    logits = logits.clone().requires_grad_()
    mean = loss.total(logits, labels, weights) / loss.weight(labels, weights)
    mean.backward()
    return mean.detach(), logits.grad


@pytest.mark.parametrize(("task", "options"), OPTIONS)
def test_a_row_of_weight_k_counts_as_k_rows(task, options):
    loss, logits, labels = loss_of(task, options), logits_of(task), LABELS[task]
    weighted = mean_and_gradient(loss, logits, labels, REPEATS.float())

    rows = torch.repeat_interleave(torch.arange(6), REPEATS)
    mean, gradients = mean_and_gradient(loss, logits[rows], labels[rows])
    summed = torch.zeros_like(logits).index_add(0, rows, gradients)

    assert_close(weighted[0], mean)
    assert_close(weighted[1], summed)


def test_the_weighted_mean_is_that_of_torch_and_numpy():
    weights = torch.tensor([0.5, 1, 2, 0, 3.25, 1])
    labels, logits = LABELS[Task.single_label], logits_of(Task.single_label)
    losses = F.cross_entropy(logits, labels, reduction="none")
    expected = np.average(losses.double().numpy(), weights=weights.numpy())
    mean, _ = mean_and_gradient(loss_of(Task.single_label, {}), logits, labels, weights)
    assert_close(mean, torch.tensor(expected).float())


# --- data


def weighted_rows(weights):
    rows = generated_rows("train", limit=len(weights))
    return [
        {**row, "weight": weight} for row, weight in zip(rows, weights, strict=True)
    ]


def load_weighted(folder, weights, suffix="jsonl", **config):
    path = write(folder, f"train.{suffix}", weighted_rows(weights))
    return load(train_path=path, weight_column="weight", **config)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_every_format_gives_the_same_weights(suffix, tmp_path):
    data = load_weighted(tmp_path, [1.0, 0.5, 2.25, 3.0], suffix, val_fraction=0.25)
    by_text = dict(zip(data.train.rows["text"], data.train.weights, strict=True))
    written = {row["text"]: row["weight"] for row in weighted_rows([1, 0.5, 2.25, 3])}
    assert by_text.items() <= written.items()
    assert data.val.weights is None


@pytest.mark.parametrize(
    ("weight", "problem"),
    [
        ("-1", "the weight -1 is neither 0 nor a number from 1e-10 to 1e+10"),
        ('"-0.5"', "the weight '-0.5' is neither 0 nor"),
        ("1e11", "the weight 100000000000.0 is neither 0 nor"),
        ("1e-11", "the weight 1e-11 is neither 0 nor"),
        ("Infinity", "the weight inf is neither 0 nor"),
        ('"nan"', "the weight 'nan' is neither 0 nor"),
        ("9" * 4000, "is neither 0 nor"),
        ("null", "the weight is missing"),
        ("NaN", "the weight is missing"),
        ('""', "the weight is missing"),
        ('"heavy"', "the weight 'heavy' is not a number"),
        ('"1_0"', "the weight '1_0' is not a number"),
        ("true", "the weight True is not a number"),
        ("[1]", "the weight [1] is not a number"),
    ],
)
def test_other_weights_are_refused_with_file_and_row(weight, problem, tmp_path):
    file = tmp_path / "t.jsonl"
    lines = [json.dumps(row) for row in weighted_rows([1, 1, 1])]
    lines[1] = lines[1].replace('"weight": 1', f'"weight": {weight}')
    file.write_text("\n".join(lines))
    with pytest.raises(DataError) as error:
        load(train_path=str(file), weight_column="weight")
    message = str(error.value)
    assert message.startswith(f"{file}, line 2: ")
    assert problem in message
    assert "\n" not in message


def test_a_row_of_weight_0_is_left_out_before_validation_is_cut(tmp_path):
    weights = [1, 0, 2, 0, 1, 1, 1, 1]
    data = load_weighted(tmp_path, weights, val_fraction=0.3)
    kept = [row["text"] for row in weighted_rows(weights) if row["weight"]]
    found = [*data.train.rows["text"], *data.val.rows["text"]]
    assert sorted(found) == sorted(kept)
    assert data.train.weights.min() > 0
    note = "train: 2 rows of weight 0 were left out (data.weight_column=weight)"
    assert note in data.report["notes"]


def classes_of_weights(folder, weights):
    labels = ["a", "a", "b", "b", "c", "c", "a", "b", "a", "b"]
    rows = [
        {"text": f"text {number}", "label": label, "weight": weights[label]}
        for number, label in enumerate(labels)
    ]
    path = write(folder, "train.jsonl", rows)
    return load(train_path=path, weight_column="weight", val_fraction=0.3)


def test_a_class_whose_rows_all_have_weight_0_is_named(tmp_path):
    data = classes_of_weights(tmp_path, {"a": 1, "b": 2, "c": 0})
    assert data.labels == ("a", "b", "c")
    line = "train: only rows of weight 0 have 'c'"
    assert line in data.report["notes"]


def test_one_class_without_the_rows_of_weight_0_is_refused(tmp_path):
    problem = r"train without the rows of weight 0 has one class only \('a'\)"
    with pytest.raises(DataError, match=problem):
        classes_of_weights(tmp_path, {"a": 1, "b": 0, "c": 0})


def test_weights_that_are_all_0_are_refused(tmp_path):
    with pytest.raises(DataError, match="all train rows have the weight 0"):
        load_weighted(tmp_path, [0, -0.0, 0])


def test_the_digest_of_train_covers_the_weights_and_that_of_val_does_not(tmp_path):
    first = load_weighted(tmp_path, [1, 2, 3, 4, 5, 6], val_fraction=0.4)
    other = load_weighted(tmp_path, [1, 2, 3, 4, 5, 7], val_fraction=0.4)
    (tmp_path / "none.jsonl").write_text((tmp_path / "train.jsonl").read_text())
    none = load(train_path=str(tmp_path / "none.jsonl"), val_fraction=0.4)
    assert len({data.train.sha256 for data in (first, other, none)}) == 3
    assert len({data.val.sha256 for data in (first, other, none)}) == 1


def test_a_limit_keeps_the_weights_of_its_rows(tmp_path):
    weights = [1 + number / 4 for number in range(20)]
    data = load_weighted(tmp_path, weights, limit_train=7, val_fraction=0.2)
    written = {row["text"]: row["weight"] for row in weighted_rows(weights)}
    found = dict(zip(data.train.rows["text"], data.train.weights, strict=True))
    assert len(found) == 7
    assert found.items() <= written.items()


def test_a_data_set_of_the_hub_has_weights(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    write(folder, "train.parquet", weighted_rows([1, 0.5, 4, 2]))
    data = load(
        source="hub", name=str(folder), weight_column="weight", val_fraction=0.3
    )
    written = {row["text"]: row["weight"] for row in weighted_rows([1, 0.5, 4, 2])}
    found = dict(zip(data.train.rows["text"], data.train.weights, strict=True))
    assert found.items() <= written.items()


def test_a_missing_column_is_named_with_its_key(tmp_path):
    path = write(tmp_path, "t.csv", weighted_rows([1, 1]))
    with pytest.raises(DataError, match=r"did you mean data\.weight_column=weight\?"):
        load(train_path=path, weight_column="weigth")


@pytest.mark.parametrize("data", ["generated", "reuters_r8"])
def test_a_source_without_further_columns_is_refused(data):
    with pytest.raises(ConfigError, match=r"data\.weight_column=w: data\.source="):
        configure(f"data={data}", "data.weight_column=w")


# --- runs


@pytest.mark.proof
@pytest.mark.usefixtures("preloaded_fork_server")
@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("single_label", ["training.class_weights=balanced"]),
        ("multi_label", []),
        ("regression", []),
    ],
)
def test_a_weighted_run_survives_a_kill_and_three_processes_compute_it(
    task, options, tmp_path, monkeypatch
):
    options = [
        *weighted_table(tmp_path / "data", task),
        *("training.accumulate=5", "training.batch_size=14"),
        *options,
    ]
    whole, _ = assert_exact(monkeypatch, tmp_path, *options)

    plain = [option for option in options if "weight_column" not in option]
    other = fingerprint(train_in(tmp_path / "plain", *plain))
    assert other["weights"] != fingerprint(whole)["weights"]


@pytest.mark.slow
def test_changed_weights_are_drift(tmp_path, monkeypatch):
    options = [*weighted_table(tmp_path / "data"), "training.checkpoint_every=1"]
    run = RunDir(tmp_path / "run")
    train_until_killed(monkeypatch, 2, run.path, *options)
    file = tmp_path / "data" / "train.jsonl"
    file.write_text(file.read_text().replace('"weight": 0.5', '"weight": 0.75'))
    with pytest.raises(ConfigError, match=r"data\.train"):
        resume(run, *options)
    assert read_json(run.results)["status"] != "finished"
