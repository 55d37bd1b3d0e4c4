"""Dropout masks are a function of a seed and drop the requested share."""

from contextlib import suppress

import pytest
import torch
from classifiers import classifiers

from ostinato.model.dropout import Dropout, Masks, kept_share, replace_dropout


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.99])
def test_masks_are_a_function_of_the_seed_and_drop_the_requested_share(p):
    def draw(seed):
        masks.seed(seed)
        return masks.keep(torch.Size([1000, 333]), p, torch.device("cpu"))

    masks = Masks()
    first = draw(seed=1)
    assert torch.equal(first, draw(seed=1))
    assert not torch.equal(first, draw(seed=2))
    deviation = (p * (1 - p) / 333_000) ** 0.5
    assert first.double().mean().item() == pytest.approx(1 - p, abs=5 * deviation)
    assert kept_share(p) == pytest.approx(1 - p, abs=2**-17)


def test_a_repeated_forward_pass_draws_the_same_masks_and_nothing_else_changes():
    def draw():
        return masks.keep(torch.Size([4000]), 0.5, torch.device("cpu"))

    masks = Masks()
    expected = [draw() for _ in range(3)]
    masks.seed(0)
    draw()
    forward, repetition = masks.contexts()
    with forward:
        assert torch.equal(draw(), expected[1])
    with suppress(KeyError), repetition:
        again = draw()
        raise KeyError  # torch stops the repetition early
    assert torch.equal(again, expected[1])
    assert torch.equal(draw(), expected[2])


def test_dropout_scales_kept_elements_forwards_and_backwards():
    layer = Dropout(0.25, Masks())
    values = torch.ones(1000, requires_grad=True)
    dropped = layer(values)
    dropped.sum().backward()
    assert dropped.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert torch.equal(values.grad, dropped.detach())
    assert layer.eval()(values) is values


def test_every_dropout_layer_of_a_model_is_replaced():
    model = classifiers("bert")[0][0]
    replace_dropout(model, Masks())
    layers = [child for child in model.modules() if isinstance(child, torch.nn.Dropout)]
    assert len(layers) == 11
    assert all(isinstance(layer, Dropout) and layer.p == 0.1 for layer in layers)
