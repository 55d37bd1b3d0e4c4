"""Attention weights of one group of texts, and the options that decide them.

`layout` explains the letters of the shapes.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ostinato.model.dropout import Masks, kept_share


@dataclass(frozen=True)
class Options:
    """The arguments of `attention.attend` that are not tensors of the row."""

    scale: float
    dropout: float
    masks: Masks | None
    window: int | None
    causal: bool
    softcap: float | None

    @property
    def kept_share(self) -> float:
        """Probability that an attention weight is kept."""
        if self.masks is None:
            return 1.0
        return kept_share(self.dropout)

    def keep(self, weights: Tensor) -> Tensor | None:
        """Draws an int8 mask for attention weights; None without dropout."""
        if self.masks is None or not self.dropout:
            return None
        mask: Tensor = self.masks.keep(weights.shape, self.dropout, weights.device)
        return mask


def attention_weights(
    q: Tensor, k: Tensor, padding: Tensor | None, options: Options, one_query: bool
) -> Tensor:
    """Computes the attention weights of one group, [N * H, Q, L].

    Args:
        q: scaled queries, [N * H, Q, D].
        k: keys, [N * H, L, D].
        padding: see `Layout`.
        options: see `attention.attend`.
        one_query: whether each text has one query in each head.
    """
    products = _products(q, k, options.softcap)  # [N * H, Q, L]
    length = products.shape[2]
    num_queries = 1 if one_query else length
    by_head = products.view(-1, num_queries, length)
    # The last token of a text sees all of its tokens. Other tokens do not see the empty
    # slots, which lie behind them.
    causal = options.causal and not one_query
    if padding is not None and not causal:
        hide_empty_slots(products.view(len(padding), -1, num_queries, length), padding)
    if causal:
        _hide_later_tokens(by_head)
    if options.window is not None and length > options.window:
        _hide_distant_tokens(by_head, options.window)
    return torch.softmax(products, -1, out=products)


def _products(q: Tensor, k: Tensor, softcap: float | None) -> Tensor:
    """Multiplies queries and keys, [N * H, Q, L], within plus or minus `softcap`."""
    products = torch.bmm(q, k.transpose(1, 2))
    if softcap is not None:
        products.div_(softcap).tanh_().mul_(softcap)
    return products


def mix_values(
    weights: Tensor, v: Tensor, options: Options, output: Tensor
) -> Tensor | None:
    """Adds up values by their weights, after dropout, but without its division.

    Args:
        weights: attention weights, [N * H, Q, L].
        v: values, [N * H, L, D].
        options: see `attention.attend`.
        output: gets the sums, [N * H, Q, D].

    Returns:
        The int8 mask of the weights; None without dropout.
    """
    kept_weights = weights
    mask = options.keep(weights)
    if mask is not None:
        kept_weights = mask.to(weights.dtype).mul_(weights)
    torch.bmm(kept_weights, v, out=output)
    return mask


def through_weights(
    gradient: Tensor, v: Tensor, weights: Tensor, mask: Tensor | None, to_value: Tensor
) -> Tensor:
    """Turns the gradient of outputs into that of the products, [N * H, Q, L].

    Args:
        gradient: of the kept outputs, [N * H, Q, D].
        v: values, [N * H, L, D].
        weights: attention weights, [N * H, Q, L].
        mask: int8 mask of the weights; None without dropout.
        to_value: gets the gradient of the values, [N * H, L, D].
    """
    kept_weights = weights
    to_weights = torch.bmm(gradient, v.transpose(1, 2))  # [N * H, Q, L]
    if mask is not None:
        keep = mask.to(weights.dtype)
        to_weights = to_weights.mul_(keep)
        kept_weights = keep.mul_(weights)
    torch.bmm(kept_weights.transpose(1, 2), gradient, out=to_value)
    return torch._softmax_backward_data(to_weights, weights, -1, weights.dtype)


def through_softcap(gradient: Tensor, q: Tensor, k: Tensor, softcap: float) -> None:
    """Turns the gradient of capped products into that of the products, in place."""
    tanh = _products(q, k, softcap).div_(softcap)
    gradient.addcmul_(gradient, tanh.square_(), value=-1)


def hide_empty_slots(products: Tensor, padding: Tensor) -> None:
    """Lowers the products of keys that are empty slots, in place.

    The lowered value is finite because the query of an empty slot may see no token.

    Args:
        products: [N, H, Q, L], or with heads before texts.
        padding: 1 for an empty slot, [N, 1, 1, L] or [N, 1, L].
    """
    lowest = torch.finfo(products.dtype).min / 2
    products.add_(padding.to(products.dtype), alpha=lowest)


def _hide_later_tokens(products: Tensor) -> None:
    """Excludes keys that lie behind their query, in place."""
    length = products.shape[2]
    everything = torch.ones(length, length, dtype=torch.bool, device=products.device)
    products.masked_fill_(everything.triu_(1), -math.inf)


def _hide_distant_tokens(products: Tensor, window: int) -> None:
    """Excludes keys that lie `window` or more positions away, in place."""
    num_queries, length = products.shape[1:]
    positions = torch.arange(length, device=products.device)  # [L]
    distances = positions[:num_queries, None] - positions  # [Q, L]
    is_distant = distances.abs() >= window
    products.masked_fill_(is_distant, -math.inf)
