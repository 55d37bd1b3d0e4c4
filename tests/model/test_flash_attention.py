"""The kernel of a GPU gets arguments that give the same result as padding."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from classifiers import ARCHITECTURES, LONGEST, classifiers, gradients, rows
from closeness import assert_all_close, assert_close

from ostinato.model import attention


class FakeKernel(torch.autograd.Function):
    """Computes what the kernel computes; memory that it does not write is NaN."""

    @staticmethod
    def forward(ctx, query, key, value, query_bounds, key_bounds, *options):
        ctx.save_for_backward(query, key, value)
        ctx.places = list(zip(_slices(query_bounds), _slices(key_bounds), strict=True))
        ctx.options = options
        outputs = torch.full_like(query, torch.nan)
        for queries, keys in ctx.places:
            outputs[queries] = _attention(
                query[queries], key[keys], value[keys], *options
            )
        return outputs

    @staticmethod
    def backward(ctx, gradient):
        states = ctx.saved_tensors
        state_gradients = [torch.full_like(state, torch.nan) for state in states]
        for queries, keys in ctx.places:
            parts = [queries, keys, keys]
            leaves = []
            for state, part in zip(states, parts, strict=True):
                leaves.append(state[part].clone().requires_grad_())
            with torch.enable_grad():
                output = _attention(*leaves, *ctx.options)
            own = torch.autograd.grad(output, leaves, gradient[queries])
            for whole, part, values in zip(state_gradients, parts, own, strict=True):
                whole[part] = values
        return *state_gradients, None, None, None, None, None


def _slices(bounds):
    bounds = bounds.tolist()
    return [slice(start, end) for start, end in pairwise(bounds)]


def _attention(q, k, v, scale, reach, causal):
    heads_per_key = q.shape[1] // k.shape[1]
    k = k.repeat_interleave(heads_per_key, 1)
    v = v.repeat_interleave(heads_per_key, 1)
    products = torch.einsum("qhd,khd->hqk", q, k) * scale
    query_positions = torch.arange(len(q))[:, None] + len(k) - len(q)
    distances = query_positions - torch.arange(len(k))
    if reach >= 0:
        products = products.masked_fill(distances.abs() > reach, -torch.inf)
    if causal:
        products = products.masked_fill(distances < 0, -torch.inf)
    return torch.einsum("hqk,khd->qhd", products.softmax(-1), v)


def fake_kernel(
    q,
    k,
    v,
    query_bounds,
    key_bounds,
    longest_query,
    longest_key,
    dropout,
    causal,
    debug,
    *,
    scale,
    window_size_left,
    window_size_right,
):
    assert window_size_right == (0 if causal else window_size_left)
    assert query_bounds.dtype == torch.int32
    assert key_bounds.dtype == torch.int32
    assert len(query_bounds) == len(key_bounds)
    assert longest_query >= query_bounds.diff().max()
    assert longest_key >= key_bounds.diff().max()
    options = scale, window_size_left, causal
    return (FakeKernel.apply(q, k, v, query_bounds, key_bounds, *options),)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("multiple", [1, 16])
def test_the_kernel_of_a_gpu_agrees_with_padding(name, multiple, monkeypatch):
    monkeypatch.setattr(attention, "_has_kernel", lambda query: True)
    monkeypatch.setattr(torch.ops.aten, "_flash_attention_forward", fake_kernel)
    padded, (model, collator) = classifiers(name)
    packed = model, replace(collator, multiple=multiple)
    columns = rows([3, 1, LONGEST, 1, 7, 20])
    weight = torch.randn(6, 3)
    expected, expected_gradients = gradients(*padded, columns, weight)
    logits, packed_gradients = gradients(*packed, columns, weight)
    assert_close(logits, expected)
    assert_all_close(packed_gradients, expected_gradients)
