"""Products of a group's states with a table of relative positions.

`layout` explains the letters of the shapes. Here the heads come before the texts, and

    M  longest text, in tokens
    W  relative positions in a group: 2 * L - 1

In a product of all states with all W rows of a table, the entries of one text lie on
diagonals. Their strides make them a matrix [L, L], so nothing is gathered.
"""

import torch
from torch import Tensor


def by_head(table: Tensor) -> Tensor:
    """Copies a table [2 * M - 1, H, ...] into [H, 2 * M - 1, ...]."""
    return table.transpose(0, 1).contiguous()


def times_table(states: Tensor, table: Tensor) -> Tensor:
    """Multiplies states with the rows of a table.

    Args:
        states: queries or keys, [H * N, L, D].
        table: [H, 2 * M - 1, D]; row M - 1 belongs to position 0.

    Returns:
        [H * N, L, L]: entry [i, j] is the product of state i and row M - 1 - i + j.
    """
    length = states.shape[1]
    of_head = states.view(len(table), -1, states.shape[-1])  # [H, N * L, D]
    products = torch.bmm(of_head, _window(table, length).transpose(1, 2))
    return _diagonals(products.view(len(states), length, -1))


def through_table(
    to_products: Tensor,
    states: Tensor,
    table: Tensor,
    to_states: Tensor,
    to_table: Tensor,
) -> None:
    """Adds the gradients of products with a table.

    Args:
        to_products: gradient of the products, [H * N, L, L]; row i belongs to state i.
        states: queries or keys, [H * N, L, D].
        table: as in `times_table`.
        to_states: gets the gradient of `states`.
        to_table: gets the gradient of `table`; in fp32 or more, because groups add up.
    """
    length = states.shape[1]
    num_heads, _, head_size = table.shape
    with_table = states.new_zeros(len(states), length, 2 * length - 1)
    _diagonals(with_table).copy_(to_products)
    of_head = with_table.view(num_heads, -1, 2 * length - 1)
    to_states.view(num_heads, -1, head_size).baddbmm_(of_head, _window(table, length))
    summed = torch.bmm(of_head.transpose(1, 2), states.view(num_heads, -1, head_size))
    _window(to_table, length).add_(summed)


def biases(table: Tensor, length: int) -> Tensor:
    """Spreads a table of biases over products.

    Args:
        table: [H, 2 * M - 1]; column M - 1 belongs to position 0.
        length: of the group (L).

    Returns:
        [H, L, L]: entry [i, j] is column M - 1 - i + j.
    """
    return _diagonals(_window(table, length).unsqueeze(1).repeat(1, length, 1))


def through_biases(to_products: Tensor, to_table: Tensor) -> None:
    """Adds the gradient of biases.

    Args:
        to_products: gradient of the products, [H * N, L, L].
        to_table: gets the gradient of the table; in fp32 or more.
    """
    length = to_products.shape[-1]
    to_biases = to_products.view(len(to_table), -1, length, length).sum(1)
    spread = to_biases.new_zeros(len(to_table), length, 2 * length - 1)
    _diagonals(spread).copy_(to_biases)
    _window(to_table, length).add_(spread.sum(1))


def _window(table: Tensor, length: int) -> Tensor:
    """The rows of a table for texts of this length, a view [H, W, ...]."""
    num_more = (table.shape[1] + 1) // 2 - length
    return table[:, num_more : table.shape[1] - num_more]


def _diagonals(products: Tensor) -> Tensor:
    """The entries [L - 1 - i + j] of each row i of [H * N, L, W], a view."""
    num_products, length, width = products.shape
    return products.as_strided(
        (num_products, length, length), (length * width, width - 1, 1), length - 1
    )
