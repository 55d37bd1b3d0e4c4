"""The form of batches of a classifier: packed, or padded on one side.

Only a form in which a text gets the same logits as alone is used.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ostinato.config import Batching
from ostinato.data.collate import Collator, TokenLists
from ostinato.errors import ConfigError
from ostinato.model.agreement import Agreement, probe_rows
from ostinato.model.dropout import Masks
from ostinato.model.families import POSITIONS_AFTER_PAD_TOKEN
from ostinato.model.packing import is_packed, pack, packing_problem, unpack

log = logging.getLogger(__name__)


def configure_batching(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batching: Batching,
    masks: Masks,
    rows: TokenLists | None = None,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> None:
    """Makes model and tokenizer agree on a form of batches that keeps all logits.

    The padding side of the tokenizer is kept if it keeps the logits; otherwise the
    other side is written to it. The saved model needs it even if this run packs its
    batches. With `batching=packed`, the model is then packed if this keeps the logits.
    `collator_of` returns the collator for the form that is used.

    Args:
        model: the classifier, on its device; packed or unpacked in place.
        tokenizer: of the model, with the model's pad token; changed in place.
        batching: the wanted batching.
        masks: source of the dropout masks of attention weights.
        rows: tokenised texts to compare; None for a few words.
        autocast: the run's precision.

    Raises:
        ConfigError: a text gets other logits in a batch than alone, in every form.
    """
    unpack(model)
    agreement = _agreement(model, tokenizer, rows, autocast)
    problem = _choose_padding_side(model, tokenizer, agreement)
    if batching is Batching.packed and _try_packing(model, tokenizer, masks, agreement):
        return
    if problem is not None:
        architecture = model.config.model_type
        message = f"model.name: {architecture} cannot be used in batches ({problem})"
        raise ConfigError([f"{message}; use another model"])


def collator_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Collator:
    """Returns the collator for the batches that the model accepts now.

    Args:
        model: the classifier, packed or not.
        tokenizer: of the model.
    """
    padded = padded_collator(tokenizer)
    if not is_packed(model):
        return padded
    return replace(padded, packed=True, first_position=first_position(model))


def padded_collator(tokenizer: PreTrainedTokenizerBase) -> Collator:
    """Returns a collator with the padding side and the pad ids of the tokenizer."""
    return Collator(
        tokenizer.pad_token_id,
        pad_token_type_id=tokenizer.pad_token_type_id,
        left=tokenizer.padding_side == "left",
    )


def first_position(model: PreTrainedModel) -> int:
    """Position id of a text's first token."""
    if model.config.model_type in POSITIONS_AFTER_PAD_TOKEN:
        return int(model.config.pad_token_id) + 1
    return 0


def _agreement(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: TokenLists | None,
    autocast: Callable[[], AbstractContextManager[object]],
) -> Agreement:
    """Computes the logits of each text alone, for comparison."""
    try:
        return Agreement(model, probe_rows(tokenizer, rows), autocast)
    except Exception as error:  # architectures raise errors of any class
        lines = str(error).strip().splitlines() or [""]
        reason = f"{type(error).__name__}: {lines[0]}"
        architecture = model.config.model_type
        problem = f"model.name: {architecture} cannot read a text ({reason})"
        raise ConfigError([f"{problem}; use another model"]) from error


def _try_packing(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    masks: Masks,
    agreement: Agreement,
) -> bool:
    """Packs the model if this keeps all logits; otherwise logs why not."""
    pack(model, masks)
    collator = collator_of(model, tokenizer)
    problem = packing_problem(model, lambda: agreement.problem(collator))
    if problem is None:
        return True
    unpack(model)
    log.info(
        "training.batching=packed: %s does not support packed batches; "
        "bucketed batches are used (%s)",
        model.config.model_type,
        problem,
    )
    return False


def _choose_padding_side(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, agreement: Agreement
) -> str | None:
    """Writes to the tokenizer the padding side that keeps all logits.

    Returns:
        None; if neither side keeps them, the problem of the tokenizer's side.
    """
    padded = padded_collator(tokenizer)
    problem = agreement.problem(padded)
    if problem is None:
        return None
    other = replace(padded, left=not padded.left)
    if agreement.problem(other) is not None:
        return problem
    side = "left" if other.left else "right"
    architecture = model.config.model_type
    log.info(
        "%s: padding is on the %s; on the other side, %s", architecture, side, problem
    )
    tokenizer.padding_side = side
    return None
