"""The moving average of the weights: what is evaluated and saved, never trained."""

import pytest
import torch
from closeness import assert_all_close
from runs import fingerprint, train_in, train_until_killed
from safetensors.torch import load_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ostinato.errors import ResumeRefused
from ostinato.record.fingerprint import read_steps
from ostinato.run_dir import CheckpointDir
from ostinato.training.averaging import WeightAverage

EMA = ("training.ema_decay=0.5", "training.checkpoint_every=2")


def change(model, generator):
    for parameter in model.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator))


def test_the_average_equals_that_of_torch():
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(3, 2)
    mine = WeightAverage(model, 0.9)
    torchs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for _ in range(5):
        change(model, generator)
        mine.update()
        torchs.update_parameters(model)
    assert_all_close(mine.weights, dict(torchs.module.named_parameters()), 0)


def test_the_average_is_the_formula():
    model = nn.Linear(1, 1, bias=False)
    average = WeightAverage(model, 0.9)
    for value in (1.0, 2.0, 4.0):
        model.weight.data.fill_(value)
        average.update()
    expected = 0.9 * (0.9 * 1.0 + 0.1 * 2.0) + 0.1 * 4.0
    assert float(average.weights["weight"]) == pytest.approx(expected)


def test_the_model_has_the_average_only_within_the_context():
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    average = WeightAverage(model, 0.5)
    with average.applied():
        pass  # nothing to apply before the first step
    average.update()
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    addresses = [parameter.data_ptr() for parameter in model.parameters()]
    average.weights["weight"].add_(1)
    with average.applied():
        assert torch.equal(model.weight, own["weight"] + 1)
        assert torch.equal(model.bias, own["bias"])
        assert addresses == [parameter.data_ptr() for parameter in model.parameters()]
    assert all(torch.equal(model.state_dict()[name], own[name]) for name in own)


@pytest.fixture(scope="module")
def averaged(tmp_path_factory):
    return train_in(tmp_path_factory.mktemp("averaged") / "run", *EMA)


@pytest.mark.slow
def test_steps_are_those_of_a_run_without_average(averaged, tmp_path):
    plain = train_in(tmp_path, EMA[1])
    assert read_steps(averaged.steps) == read_steps(plain.steps)
    mine, own = (load_file(run.best_weights) for run in (averaged, plain))
    assert any(not torch.equal(mine[name], own[name]) for name in own)


@pytest.mark.slow
def test_best_holds_the_average_of_the_checkpoints(tmp_path):
    every = ("training.checkpoint_every=1", "training.keep_checkpoints=3")
    run = train_in(tmp_path, EMA[0], "training.max_steps=3", *every)
    checkpoints = [CheckpointDir(run.checkpoint(step)) for step in (1, 2, 3)]
    first, second, third = (load_file(checkpoint.weights) for checkpoint in checkpoints)
    expected = {
        name: (first[name].lerp(second[name], 0.5)).lerp(third[name], 0.5)
        for name in first
    }
    found = load_file(checkpoints[-1].average)
    assert_all_close(found, {name: expected[name] for name in found}, 1e-6)
    best = load_file(run.best_weights)
    assert all(torch.equal(best[name], found[name]) for name in found)


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bits(averaged, tmp_path, monkeypatch):
    train_until_killed(monkeypatch, 5, tmp_path, *EMA)
    resumed = train_in(tmp_path, *EMA, "resume.run=auto")
    assert fingerprint(resumed) == fingerprint(averaged)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(EMA, EMA[1:]), (EMA[1:], EMA)])
def test_a_checkpoint_with_another_choice_is_refused(
    before, after, tmp_path, monkeypatch
):
    train_until_killed(monkeypatch, 5, tmp_path, *before)
    with pytest.raises(ResumeRefused, match=r"another training\.ema_decay"):
        train_in(tmp_path, *after, "resume.run=auto", "resume.allow_drift=true")
