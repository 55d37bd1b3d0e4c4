"""Makes the last layer of a packed model compute only what its head reads.

The head reads one token of each text. Its last layer needs the keys and values of all
tokens, but nothing else of the others.
"""

from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from ostinato.model.architecture import layers_of
from ostinato.model.packed_attention import PackedRow


def trim_encoder(base: nn.Module, row: PackedRow) -> list[RemovableHandle]:
    """Makes BERT's last layer compute only first tokens after its attention.

    Args:
        base: the base model; other architectures than BERT's stay as they are.
        row: gets the attention module that is trimmed, and holds the current batch.

    Returns:
        The hooks.
    """
    encoder = getattr(base, "encoder", None)
    layers = getattr(encoder, "layer", None)
    attention: Any = getattr(layers[-1], "attention", None) if layers else None
    if not hasattr(attention, "self") or not hasattr(attention, "output"):
        return []

    def select_first(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        starts = row.segments.starts
        return tuple(hidden.index_select(1, starts) for hidden in args)

    row.trimmed = attention.self
    return [attention.output.register_forward_pre_hook(select_first)]


def trim_decoder(model: PreTrainedModel, row: PackedRow) -> list[RemovableHandle]:
    """Makes a decoder's last layer compute only last tokens in attention and MLP.

    The outputs of both are zero for other tokens, so the residual stream keeps its
    shape.

    Args:
        model: the classifier; stays as it is if its layers are not found.
        row: gets the attention module that is trimmed, and holds the current batch.

    Returns:
        The hooks.
    """
    layers = layers_of(model)
    if layers is None:
        return []
    for module in layers[-1].modules():
        if getattr(module, "is_causal", False) is True:
            row.trimmed = module
    mlp = getattr(layers[-1], "mlp", None)
    if not isinstance(mlp, nn.Module) or not _is_plain(mlp):
        return []

    def select_last(module: nn.Module, args: tuple[Tensor]) -> Tensor:
        return args[0].index_select(1, row.segments.ends)

    def spread(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        zeros = output.new_zeros(1, row.num_tokens, output.shape[-1])
        return zeros.index_copy(1, row.segments.ends, output)

    enter = mlp.register_forward_pre_hook(select_last)
    return [enter, mlp.register_forward_hook(spread)]


def _is_plain(mlp: nn.Module) -> bool:
    """Whether a module has only linear layers and functions, and no experts.

    A linear layer can have an adapter.
    """
    own = list(mlp.parameters(recurse=False))
    others = [child for child in mlp.children() if not hasattr(child, "base_layer")]
    inner = [part for child in others for part in child.children()]
    return not own and not inner
