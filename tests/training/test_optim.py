"""The learning rate as a function of the step, and which parameters decay."""

import pytest
import torch
from families import tiny_bert
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import get_scheduler

from ostinato.config import Schedule, TrainingConfig
from ostinato.training.optim import build_optimizer, lr_factor, set_lr


def tiny():
    return tiny_bert(num_hidden_layers=3)


def rates_by_name(model, optimizer, key):
    """The value of a group's key for each of its parameters, by name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            rates[names[id(parameter)]] = group[key]
    return rates


@given(st.integers(1, 300), st.floats(0, 0.99), st.sampled_from(Schedule))
def test_the_factor_stays_within_its_bounds_and_peaks_at_the_end_of_the_warmup(
    total, ratio, schedule
):
    factors = [lr_factor(step, total, ratio, schedule) for step in range(total)]
    assert all(0 < f <= 1 for f in factors)
    peak = factors.index(max(factors))
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


@pytest.mark.parametrize("schedule", Schedule)
def test_after_the_warmup_the_schedule_equals_that_of_transformers(schedule):
    total, warmup = 50, 10
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    name = "constant_with_warmup" if schedule is Schedule.constant else schedule.value
    reference = get_scheduler(name, optimizer, warmup, total)
    for step in range(total):
        if step >= warmup:
            assert lr_factor(step, total, 0.2, schedule) == pytest.approx(
                reference.get_last_lr()[0], abs=1e-12
            )
        optimizer.step()
        reference.step()


def test_only_matrices_decay_and_every_parameter_is_in_one_group():
    model = tiny()
    optimizer = build_optimizer(model, TrainingConfig(weight_decay=0.1))
    members = [p for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in members} == {id(p) for p in model.parameters()}
    assert len(members) == len(list(model.parameters()))
    for group in optimizer.param_groups:
        assert {p.ndim >= 2 for p in group["params"]} == {group["weight_decay"] > 0}


def test_the_rate_decays_with_the_distance_from_the_head():
    model = tiny()
    optimizer = build_optimizer(model, TrainingConfig(lr=1.0, layer_lr_decay=0.5))
    set_lr(optimizer, 0.1)
    by_name = rates_by_name(model, optimizer, "lr")
    assert by_name["classifier.weight"] == pytest.approx(0.1)
    assert by_name["bert.encoder.layer.2.output.dense.weight"] == pytest.approx(0.05)
    assert by_name["bert.encoder.layer.0.output.dense.weight"] == pytest.approx(0.0125)
    assert by_name["bert.embeddings.word_embeddings.weight"] == pytest.approx(0.00625)


def test_the_head_can_have_its_own_rate():
    model = tiny()
    optimizer = build_optimizer(
        model, TrainingConfig(lr=1.0, head_lr=10.0, layer_lr_decay=0.5)
    )
    by_name = rates_by_name(model, optimizer, "peak_lr")
    assert {name for name, rate in by_name.items() if rate == 10.0} == {
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
        "classifier.weight",
        "classifier.bias",
    }
    assert by_name["bert.embeddings.LayerNorm.weight"] == 0.0625
