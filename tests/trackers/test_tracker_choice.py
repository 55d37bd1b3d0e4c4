"""A wrong choice of trackers is reported before the run starts."""

import sys

import pytest

from ostinato.cli.composition import register_schemas
from ostinato.cli.mistakes import find_problems


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlflow", "wandb", "dvclive"])
def test_a_missing_package_is_reported_with_the_remedy(monkeypatch, name):
    register_schemas()
    monkeypatch.setitem(sys.modules, name, None)
    problems = find_problems("train", [f"tracker=[jsonl,{name}]"], multirun=False)
    assert problems == [f"tracker={name}: needs pip install 'ostinato[{name}]'"]
    assert find_problems("train", ["tracker=jsonl"], multirun=False) == []
    assert find_problems("train", ["tracker=[]"], multirun=False) == []


@pytest.mark.slow
def test_a_key_of_a_tracker_that_was_not_chosen_is_reported():
    register_schemas()
    problem = (
        "tracker.mlflow.uri=x: has no effect without tracker=mlflow; "
        "add mlflow to tracker=[...]"
    )
    typed = ["tracker.mlflow.uri=x", "tracker.tensorboard.flush_secs=5"]
    assert find_problems("train", typed, multirun=False) == [problem]
    typed.append("training.epochs=many")
    other, same = find_problems("train", typed, multirun=False)
    assert (other.split(":")[0], same) == ("training.epochs=many", problem)
