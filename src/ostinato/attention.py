"""Attention within the texts of a packed row: the products of each text alone, no padding, no mask.

Texts of one length are computed together. Batched products and a backward pass of our own are faster than
`scaled_dot_product_attention` on a CPU at the lengths of texts, the more so with dropout.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ostinato.collate import Segments
from ostinato.dropout import Masks, kept_share


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: Segments,
    scale: float,
    dropout: float = 0.0,
    masks: Masks | None = None,
    window: int | None = None,
) -> Tensor:
    """Softmax attention of each text to itself.

    Args:
        query: [num_tokens, num_heads, head_dim], or [num_rows, ...]: the first token of each text alone asks.
        key: [num_tokens, num_heads, head_dim].
        value: as `key`.
        segments: where the texts lie.
        scale: factor of the products before the softmax.
        dropout: probability with which an attention weight is dropped.
        masks: draws what is dropped; needed with dropout.
        window: a token sees those less than this many positions away; None: all of its text.

    Returns:
        What each query reads, shaped as `query`.
    """
    windowed_first_tokens = window is not None and len(query) != len(key)  # the kernel would count from a text's end
    if _has_kernel(query) and not windowed_first_tokens:
        return _flash(query, key, value, segments, scale, dropout, window)
    read: Tensor = _by_length(query, key, value, segments, scale, dropout, masks, window)
    return read


def _has_kernel(query: Tensor) -> bool:
    """Flash attention of variable length: on NVIDIA GPUs since Ampere, in half precision, for heads of 8, 16, ..."""
    halves = query.dtype in (torch.float16, torch.bfloat16) and query.shape[-1] % 8 == 0
    return query.is_cuda and halves and torch.cuda.get_device_properties(query.device).major >= 8


def _flash(
    query: Tensor, key: Tensor, value: Tensor, segments: Segments, scale: float, dropout: float, window: int | None
) -> Tensor:
    """The kernel beneath `torch.nn.attention.varlen`, which itself has no dropout.

    What fills a row up is one more text here, with no query where first tokens alone ask: the kernel leaves memory
    unwritten where no text lies, gradients as well. Its backward pass is deterministic where
    `torch.use_deterministic_algorithms` forbids what is not.
    """
    asking, most = segments.bounds, segments.longest
    if len(query) != len(key):
        asking = torch.arange(len(query) + 2, dtype=torch.int32, device=query.device).clamp(max=len(query))
        most = 1
    seen = -1 if window is None else window - 1
    return torch.ops.aten._flash_attention_forward(  # type: ignore[no-any-return]
        query,
        key,
        value,
        asking,
        segments.bounds,
        most,
        segments.longest,
        dropout,
        False,
        False,
        scale=scale,
        window_size_left=seen,
        window_size_right=seen,
    )[0]


@torch.compiler.disable  # type: ignore[untyped-decorator]  # else each batch were compiled anew for its lengths
def _by_length(*arguments: Any) -> Any:
    return _Attend.apply(*arguments)  # type: ignore[no-untyped-call]


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        segments: Segments,
        scale: float,
        dropout: float,
        masks: Masks | None,
        window: int | None,
    ) -> Tensor:
        query = query * scale  # fewer elements than the products have
        out = _allocate(query, segments)
        saved: list[Tensor] = []
        learns = any(ctx.needs_input_grad)
        groups = list(_groups(segments, alone=len(query) != len(key)))
        with torch.autocast(query.device.type, enabled=False):
            for rows, length, asking, asked in groups:
                q, k, v = _heads(query[asking], rows), _heads(key[asked], rows), _heads(value[asked], rows)
                products = torch.bmm(q, k.transpose(1, 2))
                if window is not None and length > window:
                    products.masked_fill_(_outside(q.shape[1], length, window, q.device), -math.inf)
                weights = torch.softmax(products, -1, out=products)
                kept = [weights]
                if dropout and masks is not None:
                    keep = masks.keep(weights.shape, dropout, weights.device)
                    kept.append(keep)
                    weights = keep.to(weights.dtype).mul_(weights)
                _write(out[asking], torch.bmm(weights, v), rows)
                saved += kept if learns else []
        ctx.save_for_backward(query, key, value, *saved)
        ctx.segments, ctx.groups, ctx.scale, ctx.kept = segments, groups, scale, kept_share(dropout)
        return out.div_(ctx.kept) if dropout else out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *saved = ctx.saved_tensors
        parts = iter(saved)
        gradient = gradient / ctx.kept if ctx.kept < 1 else gradient
        to_query, to_key, to_value = (_allocate(states, ctx.segments) for states in (query, key, value))
        for rows, _, asking, asked in ctx.groups:
            q, k, v = _heads(query[asking], rows), _heads(key[asked], rows), _heads(value[asked], rows)
            g = _heads(gradient[asking], rows)
            weights = next(parts)
            to_weights = torch.bmm(g, v.transpose(1, 2))
            kept = weights
            if ctx.kept < 1:
                keep = next(parts).to(weights.dtype)
                to_weights = to_weights.mul_(keep)
                kept = keep.mul_(weights)
            _write(to_value[asked], torch.bmm(kept.transpose(1, 2), g), rows)
            to_products = torch._softmax_backward_data(to_weights, weights, -1, weights.dtype)
            _write(to_query[asking], torch.bmm(to_products, k), rows)
            _write(to_key[asked], torch.bmm(to_products.transpose(1, 2), q), rows)
        return to_query.mul_(ctx.scale), to_key, to_value, None, None, None, None, None


def _allocate(states: Tensor, segments: Segments) -> Tensor:
    """Memory like `states`: unwritten where texts lie, zeros where the row is filled up."""
    out = torch.empty_like(states)
    if segments.filler and len(out) > len(segments.starts):
        out[-segments.filler :].zero_()
    return out


def _groups(segments: Segments, alone: bool) -> Iterator[tuple[int, int, slice, slice]]:
    """Texts of one length that follow each other: their number, length, and places as queries and as keys."""
    row = start = 0
    for rows, length in segments.runs:
        asked = slice(start, start + rows * length)
        yield rows, length, slice(row, row + rows) if alone else asked, asked
        row, start = row + rows, asked.stop


def _heads(tokens: Tensor, rows: int) -> Tensor:
    """[rows * length, num_heads, head_dim] as [rows * num_heads, length, head_dim]."""
    _, heads, dim = tokens.shape
    return tokens.view(rows, -1, heads, dim).transpose(1, 2).reshape(rows * heads, -1, dim)


def _write(out: Tensor, values: Tensor, rows: int) -> None:
    """Puts [rows * num_heads, length, head_dim] back into [rows * length, num_heads, head_dim]."""
    _, heads, dim = out.shape
    out.view(rows, -1, heads, dim).copy_(values.view(rows, heads, -1, dim).transpose(1, 2))


def _outside(queries: int, length: int, window: int, device: torch.device) -> Tensor:
    position = torch.arange(length, device=device)
    return (position[:queries, None] - position).abs() >= window
