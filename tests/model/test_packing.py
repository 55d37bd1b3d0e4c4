"""Packed and padded batches give the same logits and gradients in every family."""

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

from ostinato.data.collate import Segments
from ostinato.errors import DataError
from ostinato.model import layout
from ostinato.model.attention import attend
from ostinato.model.dropout import Masks
from ostinato.model.packing import pack, unpack

# The last two pass the types on to their attention, which does not use them.
PAIRS = ("bert", "electra", "modernbert", "llama")


@pytest.fixture
def small_groups(monkeypatch):
    """Sets the size of groups; the layouts of other sizes are forgotten."""

    def set_size(size):
        monkeypatch.setattr(layout, "MAX_PRODUCTS", size)
        layout.layout_of.cache_clear()

    yield set_size
    layout.layout_of.cache_clear()


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(
    "lengths", [[1], [LONGEST], [3, 1, LONGEST, 1, 7, 7, 7, 20, 21]]
)
@pytest.mark.parametrize("multiple", [1, 16])
def test_logits_and_gradients_agree_with_padding(name, lengths, multiple):
    padded, (model, collator) = classifiers(name)
    packed = model, replace(collator, multiple=multiple)
    columns = rows(lengths, pairs=name in PAIRS)
    weight = torch.randn(len(lengths), 3)
    expected, expected_gradients = gradients(*padded, columns, weight)
    logits, packed_gradients = gradients(*packed, columns, weight)
    assert_close(logits, expected)
    assert_all_close(packed_gradients, expected_gradients)


@pytest.mark.parametrize("size", [1, 400, 1500])
def test_attention_in_groups_of_any_size_agrees_with_padding(size, small_groups):
    small_groups(size)
    padded, packed = classifiers("bert")
    columns = rows([LONGEST, 3, 4, 4, 19, 20, 1, 30])
    weight = torch.randn(8, 3)
    expected, expected_gradients = gradients(*padded, columns, weight)
    logits, packed_gradients = gradients(*packed, columns, weight)
    assert_close(logits, expected)
    assert_all_close(packed_gradients, expected_gradients)


@given(
    lengths=st.lists(st.integers(1, LONGEST), min_size=1, max_size=20),
    seed=st.integers(0, 99),
)
@settings(max_examples=30)
def test_texts_of_any_lengths_agree_with_padding(lengths, seed):
    columns = rows(lengths, seed)
    (padded, padded_collator), (packed, packed_collator) = BERT
    with torch.no_grad():
        expected = padded(**padded_collator.inputs(columns)).logits
        logits = packed(**packed_collator.inputs(columns)).logits
    assert_close(logits, expected)


BERT = classifiers("bert")


@pytest.mark.parametrize("name", ["bert", "llama", "gemma2"])
def test_a_text_does_not_see_its_neighbours(name):
    packed, collator = classifiers(name)[1]
    alone = packed(**collator.inputs({"input_ids": [[7, 8, 9]]})).logits
    rows_with_neighbours = {"input_ids": [[40, 41], [7, 8, 9], [30]]}
    together = packed(**collator.inputs(rows_with_neighbours)).logits
    assert_close(together[1], alone[0])


def test_a_packed_decoder_reads_the_last_token_even_if_it_is_the_pad_token():
    (padded, _), (packed, collator) = classifiers("llama")
    columns = {"input_ids": [[7, 8, 0], [9, 0]]}
    logits = packed(**collator.inputs(columns)).logits
    padded.config.pad_token_id = 1
    for number, ids in enumerate(columns["input_ids"]):
        expected = padded(input_ids=torch.tensor([ids])).logits
        assert_close(logits[number], expected[0])


@pytest.mark.parametrize("name", ["bert", "llama", "gemma2", "gpt2"])
def test_packed_logits_in_bf16_are_close_to_those_in_fp32(name):
    (padded, padded_collator), (packed, packed_collator) = classifiers(name)
    columns = rows([5, 1, 30])
    with torch.no_grad():
        expected = padded(**padded_collator.inputs(columns)).logits
        with torch.autocast("cpu", torch.bfloat16):
            logits = packed(**packed_collator.inputs(columns)).logits
    assert_close(logits, expected, relative=5e-2)


def plain_attention(q, k, v, scale, window, causal, softcap):
    """Attention of one text; a single query is that of the last token if causal."""
    heads_per_key = q.shape[1] // k.shape[1]
    k = k.repeat_interleave(heads_per_key, 1)
    v = v.repeat_interleave(heads_per_key, 1)
    products = torch.einsum("qhd,khd->hqk", q, k) * scale
    if softcap is not None:
        products = softcap * torch.tanh(products / softcap)
    keys = torch.arange(len(k))
    queries = keys[-len(q) :] if causal else keys[: len(q)]
    distances = queries[:, None] - keys
    hidden = distances.abs() >= (window or len(k))
    if causal:
        hidden |= distances < 0
    weights = products.masked_fill(hidden, -torch.inf).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weights, v)


@pytest.mark.parametrize("num_key_heads", [1, 2, 4])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("softcap", [None, 1.5])
@pytest.mark.parametrize(
    ("window", "one_query"), [(None, False), (3, False), (None, True)]
)
@pytest.mark.parametrize("multiple", [1, 16])
def test_attention_and_its_gradients_agree_with_plain_attention(
    num_key_heads, causal, softcap, window, one_query, multiple
):
    def states(num_rows, num_heads):
        shape = (num_rows, num_heads, 8)
        return torch.randn(shape, dtype=torch.float64, requires_grad=True)

    lengths = [3, 1, 9, 2, 9]
    segments = Segments.of(np.array(lengths), multiple)
    num_rows = sum(lengths) + segments.filler
    query = states(len(lengths) if one_query else num_rows, 4)
    leaves = [query, states(num_rows, num_key_heads), states(num_rows, num_key_heads)]
    output = attend(
        *leaves, segments, 0.7, window=window, causal=causal, softcap=softcap
    )

    parts = [state[: sum(lengths)].split(lengths) for state in leaves[1:]]
    queries = query.split(1) if one_query else query[: sum(lengths)].split(lengths)
    expected = torch.cat(
        [
            plain_attention(*text, 0.7, window, causal, softcap)
            for text in zip(queries, *parts, strict=True)
        ]
    )
    output = output[: len(expected)]
    assert_close(output, expected, relative=1e-12)
    weight = torch.randn_like(expected)
    found = torch.autograd.grad((output * weight).sum(), leaves)
    plain = torch.autograd.grad((expected * weight).sum(), leaves)
    for actual, reference in zip(found, plain, strict=True):
        assert_close(actual, reference, relative=1e-12)


def test_a_pad_token_within_a_text_has_the_same_position_packed_and_padded():
    (padded, padded_collator), (packed, packed_collator) = classifiers("roberta")
    columns = {"input_ids": [[5, 1, 1, 6, 7], [8, 9], [1, 10, 1]]}
    expected = padded(**padded_collator.inputs(columns)).logits
    logits = packed(**packed_collator.inputs(columns)).logits
    assert_close(logits, expected)


@pytest.mark.slow
def test_attention_dropout_drops_weights_and_keeps_the_mean():
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
    first_layer = model.bert.encoder.layer[0].attention.self
    with torch.no_grad():
        expected = model(**inputs).logits
        model.train()
        for child in model.modules():
            if isinstance(child, torch.nn.Dropout) and child is not first_layer.dropout:
                child.p = 0.0
        draws = []
        for seed in range(300):
            masks.seed(seed)
            draws.append(model(**inputs).logits)
    draws = torch.stack(draws)
    deviation = draws.std(0)
    assert deviation.min() > 1e-6
    error = (draws.mean(0) - expected).abs()
    assert (error < 5 * deviation / 300**0.5 + 1e-6).all()


# The masks of the second dropout keep every weight.
@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.3, 1e-6])
@pytest.mark.parametrize("size", [1, pytest.param(2**15, marks=pytest.mark.proof)])
def test_gradients_through_attention_dropout_agree_with_finite_differences(
    dropout, size, small_groups
):
    small_groups(size)
    segments = Segments.of(np.array([3, 3, 5, 1]))
    masks = Masks()

    def function(query, key, value):
        masks.seed(3)
        return attend(query, key, value, segments, 0.7, dropout, masks, window=3)

    def states(num_rows):
        shape = (num_rows, 2, 2)
        return torch.randn(shape, dtype=torch.float64, requires_grad=True)

    query, key, value = states(12), states(12), states(12)
    assert torch.autograd.gradcheck(function, [query, key, value])
    first_tokens = states(4)
    assert torch.autograd.gradcheck(function, [first_tokens, key, value])


def test_a_packed_model_saves_a_folder_that_transformers_loads(tmp_path):
    (padded, collator), (packed, _) = BERT
    packed.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert loaded.config._attn_implementation == "sdpa"
    inputs = collator.inputs(rows([5, 9]))
    with torch.no_grad():
        assert torch.equal(loaded(**inputs).logits, padded(**inputs).logits)


def test_packing_twice_equals_packing_once_and_unpacking_restores_the_padded_model():
    (padded, padded_collator), (packed, packed_collator) = classifiers("bert")
    columns = rows([5, 1, 9])
    packed_inputs = packed_collator.inputs(columns)
    padded_inputs = padded_collator.inputs(columns)
    expected = packed(**packed_inputs).logits
    pack(packed, Masks())
    assert torch.equal(packed(**packed_inputs).logits, expected)
    unpack(packed)
    assert torch.equal(packed(**padded_inputs).logits, padded(**padded_inputs).logits)


def test_a_packed_batch_with_more_tokens_than_an_int32_counts_is_refused():
    with pytest.raises(DataError, match=r"at most 2\*\*31 - 1"):
        Segments.of(np.array([2**30, 2**30], dtype=np.int64))
