"""A monitor that can never be defined is refused; one not defined yet counts as worse."""

from dataclasses import replace

import numpy as np
import pytest
from files import write
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import configure, train_in

from ostinato.cli.composition import register_schemas
from ostinato.cli.mistakes import find_problems
from ostinato.config import METRICS, Task
from ostinato.errors import ConfigError
from ostinato.run_dir import read_json
from ostinato.scoring.metrics import undefined
from ostinato.scoring.scores import score


def test_an_unknown_monitor_is_reported_with_the_other_mistakes():
    register_schemas()
    problems = find_problems(
        "train",
        ["training.monitor=nosuch", "training.nosuch=1", "data.task=regression"],
        False,
    )
    line = (
        "training.monitor=nosuch: is not a metric of data.task=regression; "
        "use one of loss, mse, mae, pearson, spearman"
    )
    assert len(problems) == 2
    assert any(line in problem for problem in problems)


@pytest.mark.parametrize("task", Task)
def test_each_metric_of_the_task_can_be_the_monitor(task):
    config, _ = configure(f"data.task={task.value}")
    for name in METRICS[task]:
        replace(config, training=replace(config.training, monitor=name))
    with pytest.raises(ValueError, match=r"training\.monitor=nosuch"):
        replace(config, training=replace(config.training, monitor="nosuch"))


def test_each_value_of_a_sweep_is_checked():
    register_schemas()
    problems = find_problems(
        "train", ["training.monitor=loss,nosuch,mse"], multirun=True
    )
    assert len(problems) == 2
    assert all("training.monitor=" in problem for problem in problems)


@settings(max_examples=20)
@given(
    st.sampled_from(Task), st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 3)
)
def test_the_undefined_metrics_follow_from_the_labels(task, seed, num_rows, spread):
    random = np.random.default_rng(seed)
    if task is Task.multi_label:
        labels = np.minimum(random.integers(0, spread, (num_rows, 3)), 1)
    else:
        labels = random.integers(0, spread, num_rows)
    num_outputs = 1 if task is Task.regression else 3
    logits = random.normal(size=(num_rows, num_outputs)).astype(np.float32)
    scores = score(task, logits, labels, ["a", "b", "c"])
    assert scores.undefined == undefined(task, labels)


def test_a_monitor_that_the_validation_labels_do_not_define_is_refused_before_training(
    tmp_path,
):
    train = write(
        tmp_path, "train.csv", [{"text": f"word{i}", "label": i % 5} for i in range(40)]
    )
    val = write(
        tmp_path, "val.csv", [{"text": f"other{i}", "label": 2} for i in range(10)]
    )
    overrides = [
        "data=files",
        f"data.train_path={train}",
        f"data.val_path={val}",
        "data.task=regression",
    ]
    with pytest.raises(
        ConfigError,
        match=r"training\.monitor=pearson: these validation labels do not define it",
    ):
        train_in(tmp_path / "run", *overrides, "training.monitor=pearson")
    assert not (tmp_path / "run" / "steps.jsonl").exists()


def test_an_evaluation_that_does_not_define_the_monitor_counts_as_worse(
    tmp_path, monkeypatch
):
    seen = []

    def constant_at_first(task, logits, labels, names, **options):
        seen.append(len(seen))
        if len(seen) in (1, 3):
            logits = np.zeros_like(logits)
        return score(task, logits, labels, names, **options)

    monkeypatch.setattr("ostinato.scoring.evaluation.score", constant_at_first)
    options = [
        "data.task=regression",
        "training.monitor=pearson",
        "training.eval_every=2",
    ]
    run = train_in(tmp_path / "run", *options)
    results = read_json(run.results)
    defined = [
        evaluation["step"]
        for evaluation in results["validation"]
        if "pearson" in evaluation
    ]
    assert len(defined) == len(results["validation"]) - 2
    assert results["best_step"] in defined
