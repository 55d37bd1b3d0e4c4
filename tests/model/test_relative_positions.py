"""Packed DeBERTa and MPNet compute what transformers computes, with all options."""

import numpy as np
import pytest
import torch
from classifiers import (
    LONGEST,
    classifiers,
    collator,
    gradients,
    rows,
)
from closeness import assert_all_close, assert_close

from ostinato.data.collate import Segments
from ostinato.model import layout
from ostinato.model.agreement import Agreement
from ostinato.model.disentangled_attention import attend_disentangled
from ostinato.model.dropout import Masks, replace_dropout
from ostinato.model.packing import packing_problem, unpack
from ostinato.model.recomputation import recompute_activations
from ostinato.model.table_attention import attend_with_tables

V2 = {
    "no buckets": {"position_buckets": -1},
    "as many positions as half a text": {
        "position_buckets": -1,
        "max_relative_positions": LONGEST // 2,
    },
    "few positions with buckets": {"position_buckets": 6, "max_relative_positions": 9},
    "many buckets": {"position_buckets": 64},
    "one bucket on each side": {"position_buckets": 2},
    "own projections": {"share_att_key": False},
    "own projections, no buckets": {"share_att_key": False, "position_buckets": -1},
    "content to position": {"pos_att_type": ["c2p"]},
    "position to content": {"pos_att_type": ["p2c"]},
    "content to position, own projection": {
        "pos_att_type": "c2p",
        "share_att_key": False,
    },
    "position to content, own projection": {
        "pos_att_type": "p2c",
        "share_att_key": False,
    },
    "content alone": {"pos_att_type": []},
    "no relative attention": {"relative_attention": False},
    "no norm": {"norm_rel_ebd": "none"},
    "absolute positions": {"position_biased_input": True},
    "types": {"type_vocab_size": 2},
    "small embeddings": {"embedding_size": 16},
    "convolution": {"conv_kernel_size": 3, "conv_act": "gelu"},
    "wide convolution in groups": {"conv_kernel_size": 5, "conv_groups": 4},
}
V1 = {
    "few positions": {"max_relative_positions": 5},
    "content to position": {"pos_att_type": ["c2p"]},
    "position to content": {"pos_att_type": "p2c"},
    "content alone": {"pos_att_type": []},
    "no relative attention": {"relative_attention": False},
    "no absolute positions": {"position_biased_input": False},
}
OPTIONS = [
    *(pytest.param("deberta-v2", options, id=name) for name, options in V2.items()),
    *(
        pytest.param("deberta", options, id=f"v1 {name}")
        for name, options in V1.items()
    ),
]


@pytest.fixture
def small_groups(monkeypatch):
    """Makes groups of few texts; the layouts of other sizes are forgotten."""
    monkeypatch.setattr(layout, "MAX_PRODUCTS", 400)
    layout.layout_of.cache_clear()
    yield
    layout.layout_of.cache_clear()


def assert_packed_agrees(name, lengths, **sizes):
    padded, packed = classifiers(name, **sizes)
    columns = rows(lengths, pairs=True)
    weight = torch.randn(len(lengths), 3)
    expected, expected_gradients = gradients(*padded, columns, weight)
    logits, packed_gradients = gradients(*packed, columns, weight)
    assert_close(logits, expected)
    assert_all_close(packed_gradients, expected_gradients)


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_logits_and_gradients_agree_with_transformers(name, options, small_groups):
    lengths = [3, 1, LONGEST, 1, 7, 7, 20, 21]
    assert_packed_agrees(name, lengths, **options)


@pytest.mark.parametrize("seed", range(6))
def test_random_sizes_agree_with_transformers(seed):
    draw = np.random.default_rng(seed)
    lengths = draw.integers(1, LONGEST + 1, draw.integers(1, 12)).tolist()
    heads = int(draw.choice([1, 2, 4, 8]))
    assert_packed_agrees(
        "deberta-v2",
        lengths,
        num_hidden_layers=int(draw.integers(1, 4)),
        hidden_size=heads * int(draw.choice([4, 8, 12])),
        num_attention_heads=heads,
        position_buckets=int(draw.integers(1, 20)) * 2,
        share_att_key=bool(draw.integers(2)),
    )


def plain(query, key, value, key_table, query_table, bias_table, scale):
    """The attention of one text, entry by entry."""
    positions = torch.arange(len(key))
    middle = (len(key_table) - 1) // 2
    difference = positions[: len(query), None] - positions + middle
    products = torch.einsum("qhd,khd->hqk", query, key)
    products = products + torch.einsum("qhd,qkhd->hqk", query, key_table[difference])
    products = products + torch.einsum("khd,qkhd->hqk", key, query_table[difference])
    products = products * scale
    if bias_table is not None:
        products = products + bias_table[difference].permute(2, 0, 1)
    return torch.einsum("hqk,khd->qhd", products.softmax(-1), value)


def random_states(num_rows, *sizes):
    shape = (num_rows, 2, *sizes)
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("multiple", [1, 16])
@pytest.mark.parametrize("kind", ["all tokens", "first tokens", "biases"])
def test_attention_and_its_gradients_agree_with_plain_attention(multiple, kind):
    lengths = [3, 1, 9, 2, 9]
    segments = Segments.of(np.array(lengths), multiple)
    num_tokens, num_rows = sum(lengths), 2 * segments.longest - 1
    key, value = (random_states(num_tokens + segments.filler, 3) for _ in range(2))
    query = random_states(len(lengths) if kind == "first tokens" else len(key), 3)
    tables = [random_states(num_rows, 3), random_states(num_rows, 3)]
    if kind == "biases":
        tables.append(random_states(num_rows))
        output = attend_with_tables(
            query, key, value, tables, segments, 0.7, 0.0, Masks()
        )
    else:
        output = attend_disentangled(
            query, key, value, *tables, segments, 0.7, 0.0, Masks()
        )
        tables.append(None)

    num_queries = [1] * len(lengths) if kind == "first tokens" else lengths
    texts = zip(
        query[: sum(num_queries)].split(num_queries),
        *(state[:num_tokens].split(lengths) for state in (key, value)),
        strict=True,
    )
    expected = torch.cat([plain(*text, *tables, 0.7) for text in texts])
    output = output[: len(expected)]
    assert_close(output, expected, relative=1e-12)
    weight = torch.randn_like(expected)
    leaves = [leaf for leaf in (query, key, value, *tables) if leaf is not None]
    found = torch.autograd.grad((output * weight).sum(), leaves)
    reference = torch.autograd.grad((expected * weight).sum(), leaves)
    for actual, wanted in zip(found, reference, strict=True):
        assert_close(actual, wanted, relative=1e-12)


@pytest.mark.parametrize("dropout", [0.3, 1e-6])
def test_gradients_through_dropout_agree_with_finite_differences(dropout, small_groups):
    segments = Segments.of(np.array([3, 3, 5, 1]))
    masks = Masks()

    def function(*states):
        masks.seed(3)
        return attend_disentangled(*states, segments, 0.7, dropout, masks)

    query, key, value = (random_states(12, 2) for _ in range(3))
    tables = random_states(9, 2), random_states(9, 2)
    assert torch.autograd.gradcheck(function, [query, key, value, *tables])
    first_tokens = random_states(4, 2)
    assert torch.autograd.gradcheck(function, [first_tokens, key, value, *tables])


@pytest.mark.parametrize("name", ["deberta", "deberta-v2"])
def test_a_step_with_dropout_repeats_by_its_seed_and_with_recomputation(name):
    def step(recompute):
        model, _ = classifiers(name)[1]
        masks = Masks()
        inputs = collator(model, masks).inputs(rows([9, 30, 1]))
        replace_dropout(model, masks)
        if recompute:
            recompute_activations(model, masks)
        masks.seed(5)
        logits = model.train()(**inputs).logits
        logits.sum().backward()
        return [logits, *(p.grad for p in model.parameters() if p.grad is not None)]

    first, again, recomputed = step(False), step(False), step(True)
    evaluated, _ = classifiers(name)[1]
    inputs = collator(evaluated).inputs(rows([9, 30, 1]))
    assert not torch.equal(first[0], evaluated(**inputs).logits)
    for number, tensor in enumerate(first):
        assert torch.equal(tensor, again[number])
        assert torch.equal(tensor, recomputed[number])


@pytest.mark.parametrize("name", ["deberta", "deberta-v2", "mpnet"])
def test_packed_logits_in_bf16_are_close_to_those_in_fp32(name):
    (padded, padded_collator), (packed, packed_collator) = classifiers(name)
    columns = rows([5, 1, 30])
    with torch.no_grad():
        expected = padded(**padded_collator.inputs(columns)).logits
        with torch.autocast("cpu", torch.bfloat16):
            logits = packed(**packed_collator.inputs(columns)).logits
    assert_close(logits, expected, relative=5e-2)


@pytest.mark.parametrize("name", ["deberta", "deberta-v2", "mpnet"])
def test_a_step_follows_an_evaluation_of_texts_of_the_same_length(name):
    model, packed_collator = classifiers(name)[1]
    inputs = packed_collator.inputs(rows([11, 3]))
    with torch.inference_mode():
        model(**inputs)
    model(**packed_collator.inputs(rows([11, 3]))).logits.sum().backward()
    assert all(p.grad is not None for p in model.base_model.encoder.parameters())


@pytest.mark.parametrize("name", ["deberta", "deberta-v2", "mpnet"])
def test_unpacking_restores_the_padded_model(name):
    sizes = V2["convolution"] if name == "deberta-v2" else {}
    (padded, padded_collator), (packed, _) = classifiers(name, **sizes)
    unpack(packed)
    inputs = padded_collator.inputs(rows([5, 1, 9]))
    assert torch.equal(packed(**inputs).logits, padded(**inputs).logits)
    methods = {"forward", "compute_position_bias"}
    assert not any(methods & vars(module).keys() for module in packed.modules())


def problem(name, **sizes):
    """Tries to pack a model, as a run does."""
    model, padded_collator = classifiers(name, **sizes)[0]
    columns = rows([4, 9, 2])
    agreement = Agreement(model, columns, torch.no_grad)
    assert agreement.problem(padded_collator) is None
    packed_collator = collator(model)
    return packing_problem(model, lambda: agreement.problem(packed_collator))


@pytest.mark.parametrize("name", ["deberta", "deberta-v2", "mpnet"])
def test_a_trial_shows_that_the_model_can_be_packed(name):
    assert problem(name) is None


def test_what_is_not_computed_is_not_packed():
    assert problem("deberta", talking_head=True) == "its attention has talking heads"
    # The only layer computes first tokens, the convolution all of them.
    one_layer = V2["convolution"] | {"num_hidden_layers": 1}
    assert "size" in problem("deberta-v2", **one_layer)


def test_a_packed_model_saves_the_same_weights(tmp_path):
    (padded, collator), (packed, _) = classifiers("deberta-v2")
    packed.save_pretrained(tmp_path)
    loaded = type(padded).from_pretrained(tmp_path).eval()
    assert loaded.state_dict().keys() == padded.state_dict().keys()
    inputs = collator.inputs(rows([5, 9]))
    assert torch.equal(loaded(**inputs).logits, padded(**inputs).logits)
