"""Packed and padded batches give the same logits and gradients, for every architecture that packs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from classifiers import (
    ARCHITECTURES,
    BERT_SIZES,
    LONGEST,
    classifiers,
    collator,
    gradients,
    rows,
)
from closeness import assert_all_close, assert_close
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForSequenceClassification

from ostinato.model import attention, layout
from ostinato.model.dropout import Dropout, Masks, kept_share, replace_dropout


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(
    "lengths", [[1], [LONGEST], [3, 1, LONGEST, 1, 7, 7, 7, 20, 21]]
)
@pytest.mark.parametrize("multiple", [1, 16])
def test_logits_and_gradients_agree_with_padding(name, lengths, multiple):
    padded, (model, collator) = classifiers(name)
    packed = model, replace(collator, multiple=multiple)
    columns = rows(lengths, pairs=name in ("bert", "electra"))
    weight = torch.randn(len(lengths), 3)
    expected, theirs = gradients(*padded, columns, weight)
    logits, ours = gradients(*packed, columns, weight)
    assert_close(logits, expected)
    assert_all_close(ours, theirs)


@pytest.mark.parametrize("size", [1, 400, 1500])
def test_attention_in_groups_of_any_size_agrees_with_padding(size, monkeypatch):
    monkeypatch.setattr(layout, "MAX_PRODUCTS", size)
    padded, packed = classifiers("bert")
    columns, weight = rows([LONGEST, 3, 4, 4, 19, 20, 1, 30]), torch.randn(8, 3)
    expected, theirs = gradients(*padded, columns, weight)
    layout.layout_of.cache_clear()
    logits, ours = gradients(*packed, columns, weight)
    layout.layout_of.cache_clear()
    assert_close(logits, expected)
    assert_all_close(ours, theirs)


class Flash(torch.autograd.Function):
    """What the GPU's kernel computes, by its arguments; memory that it leaves unwritten is NaN."""

    @staticmethod
    def forward(ctx, query, key, value, asking, asked, scale, left):
        ctx.save_for_backward(query, key, value)
        ctx.places = list(
            zip(
                asking.tolist(),
                asking.tolist()[1:],
                asked.tolist(),
                asked.tolist()[1:],
                strict=False,
            )
        )
        ctx.options = scale, left
        out = torch.full_like(query, torch.nan)
        for q0, q1, k0, k1 in ctx.places:
            out[q0:q1] = Flash.one(query[q0:q1], key[k0:k1], value[k0:k1], scale, left)
        return out

    @staticmethod
    def one(q, k, v, scale, left):
        products = torch.einsum("qhd,khd->hqk", q, k) * scale
        if left >= 0:
            ahead = (
                torch.arange(len(q))[:, None] + len(k) - len(q) - torch.arange(len(k))
            )
            products = products.masked_fill(ahead.abs() > left, -torch.inf)
        return torch.einsum("hqk,khd->qhd", products.softmax(-1), v)

    @staticmethod
    def backward(ctx, gradient):
        states = ctx.saved_tensors
        found = [torch.full_like(state, torch.nan) for state in states]
        for q0, q1, k0, k1 in ctx.places:
            parts = [slice(q0, q1), slice(k0, k1), slice(k0, k1)]
            leaves = [
                s[p].clone().requires_grad_()
                for s, p in zip(states, parts, strict=True)
            ]
            with torch.enable_grad():
                read = Flash.one(*leaves, *ctx.options)
            for whole, part, own in zip(
                found,
                parts,
                torch.autograd.grad(read, leaves, gradient[q0:q1]),
                strict=True,
            ):
                whole[part] = own
        return *found, None, None, None, None


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("multiple", [1, 16])
def test_the_kernel_of_a_gpu_is_asked_for_the_same(name, multiple, monkeypatch):
    def kernel(
        q,
        k,
        v,
        asking,
        asked,
        most,
        longest,
        dropout,
        causal,
        debug,
        *,
        scale,
        window_size_left,
        **_,
    ):
        assert (asking.dtype, asked.dtype, len(asking)) == (
            torch.int32,
            torch.int32,
            len(asked),
        )
        assert most >= asking.diff().max()
        assert longest >= asked.diff().max()
        return (Flash.apply(q, k, v, asking, asked, scale, window_size_left),)

    monkeypatch.setattr(attention, "_has_kernel", lambda query: True)
    monkeypatch.setattr(torch.ops.aten, "_flash_attention_forward", kernel)
    padded, (model, collator) = classifiers(name)
    columns, weight = rows([3, 1, LONGEST, 1, 7, 20]), torch.randn(6, 3)
    expected, theirs = gradients(*padded, columns, weight)
    logits, ours = gradients(
        model, replace(collator, multiple=multiple), columns, weight
    )
    assert_close(logits, expected)
    assert_all_close(ours, theirs)


@given(
    lengths=st.lists(st.integers(1, LONGEST), min_size=1, max_size=20),
    seed=st.integers(0, 99),
)
@settings(max_examples=30)
def test_any_lengths_agree_with_padding(lengths, seed):
    columns = rows(lengths, seed)
    with torch.no_grad():
        expected, logits = (
            model(**collator.inputs(columns)).logits for model, collator in BERT
        )
    assert_close(logits, expected)


BERT = classifiers("bert")


def test_a_text_does_not_see_its_neighbours():
    packed, collator = BERT[1]
    alone = packed(**collator.inputs({"input_ids": [[7, 8, 9]]})).logits
    among = packed(**collator.inputs({"input_ids": [[40, 41], [7, 8, 9], [30]]})).logits
    assert_close(among[1], alone[0])


def test_attention_dropout_drops_and_keeps_the_mean():
    config = AutoConfig.for_model(
        "bert",
        vocab_size=60,
        num_labels=3,
        attention_probs_dropout_prob=0.5,
        **BERT_SIZES,
    )
    config.hidden_dropout_prob = 0.0
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    masks = Masks()
    inputs = collator(model, masks).inputs(rows([9, 30, 1]))
    with torch.no_grad():
        sure = model(**inputs).logits
        model.train()
        for child in model.modules():
            if (
                isinstance(child, torch.nn.Dropout)
                and child is not model.bert.encoder.layer[0].attention.self.dropout
            ):
                child.p = 0.0
        drawn = []
        for seed in range(300):
            masks.seed(seed)
            drawn.append(model(**inputs).logits)
    drawn = torch.stack(drawn)
    assert drawn.std(0).min() > 1e-6
    assert ((drawn.mean(0) - sure).abs() < 5 * drawn.std(0) / 300**0.5 + 1e-6).all()


def test_gradients_through_attention_dropout_are_those_of_finite_differences():
    from ostinato.data.collate import Segments
    from ostinato.model.attention import attend

    segments = Segments.of(np.array([3, 3, 5, 1]))
    masks = Masks()

    def function(query, key, value):
        masks.seed(3)
        return attend(
            query, key, value, segments, 0.7, dropout=0.3, masks=masks, window=3
        )

    states = [
        torch.randn(12, 2, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)
    ]
    assert torch.autograd.gradcheck(function, states)
    asking = torch.randn(4, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, [asking, *states[1:]])


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.99])
def test_masks_are_a_function_of_the_seed_and_drop_the_share_that_is_asked_for(p):
    masks = Masks()
    masks.seed(1)
    first = masks.keep(torch.Size([1000, 333]), p, torch.device("cpu"))
    masks.seed(1)
    assert torch.equal(
        first, masks.keep(torch.Size([1000, 333]), p, torch.device("cpu"))
    )
    masks.seed(2)
    assert not torch.equal(
        first, masks.keep(torch.Size([1000, 333]), p, torch.device("cpu"))
    )
    assert first.double().mean().item() == pytest.approx(
        1 - p, abs=5 * (p * (1 - p) / 333_000) ** 0.5
    )
    assert kept_share(p) == pytest.approx(1 - p, abs=2**-17)


def test_dropout_scales_what_stays_forwards_and_backwards():
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


def test_a_packed_model_saves_what_transformers_loads(tmp_path):
    (padded, collator), (packed, _) = BERT
    packed.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert loaded.config._attn_implementation == "sdpa"
    inputs = collator.inputs(rows([5, 9]))
    with torch.no_grad():
        assert torch.equal(loaded(**inputs).logits, padded(**inputs).logits)
