"""Compares the logits of a text alone with its logits in a batch.

The comparison changes no weight and draws no random number.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ostinato.data.collate import Collator, TokenLists, to_device
from ostinato.model.packed_attention import PackingError

# Relative to the largest logit, in fp32. Reordered sums differ by about 1e-6.
TOLERANCE = 1e-4
# Flash attention computes in half precision only.
_HALF_TOLERANCE = 3e-2
_TEXTS = [
    "a",
    "it will rain",
    "the wind turns to the north and it will be cold in the second half of the day",
]
_NUM_CANDIDATES = 64


def probe_rows(
    tokenizer: PreTrainedTokenizerBase, rows: TokenLists | None = None
) -> TokenLists:
    """Chooses three short rows of unequal length.

    Args:
        tokenizer: makes the rows if `rows` has no two lengths.
        rows: rows of the run, column name to one list of integers per row.

    Returns:
        Three rows, by column name.
    """
    if rows is not None:
        chosen = _unequal_rows(rows)
        if chosen is not None:
            return chosen
    encoded = tokenizer(_TEXTS, truncation=True, padding=False)
    columns = {}
    for name in ("input_ids", "token_type_ids"):
        if name in tokenizer.model_input_names:
            columns[name] = encoded[name]
    return columns


def _unequal_rows(rows: TokenLists) -> TokenLists | None:
    """Chooses three of the first rows.

    Returns:
        The rows; None if they have the same length or if one is empty.
    """
    lengths = [len(ids) for ids in rows["input_ids"][:_NUM_CANDIDATES]]
    order = np.argsort(lengths, kind="stable")
    shortest = order[0]
    short = order[len(order) // 4]
    middle = order[len(order) // 2]
    if lengths[shortest] == lengths[middle]:
        middle = order[-1]
    if not 0 < lengths[shortest] < lengths[middle]:
        return None
    chosen = {}
    for name, column in rows.items():
        chosen[name] = [column[shortest], column[short], column[middle]]
    return chosen


class Agreement:
    """Compares batches of a collator with the logits of each text alone.

    Args:
        model: the classifier as transformers makes it, not packed.
        rows: texts of unequal length.
        autocast: the run's precision; used only for flash attention, which does not
            support fp32.

    Raises:
        Exception: an error of the model on a text alone.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        rows: TokenLists,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._model = model
        self._rows = rows
        self._autocast = autocast
        self._half = "flash" in (model.config._attn_implementation or "")
        no_padding = Collator(0)
        logits = []
        for number in range(len(rows["input_ids"])):
            row = {name: [column[number]] for name, column in rows.items()}
            logits.append(self._logits(no_padding, row))
        self._expected = torch.cat(logits)

    def problem(self, collator: Collator) -> str | None:
        """Explains why batches of this collator cannot be used.

        Args:
            collator: for the form of batches that the model accepts now.

        Returns:
            The reason; None if the logits are equal.
        """
        try:
            found = self._logits(collator, self._rows)
        except PackingError as error:
            return str(error)
        except Exception as error:  # architectures raise errors of any class
            lines = str(error).strip().splitlines() or [""]
            return f"{type(error).__name__}: {lines[0]}"
        largest = float(self._expected.abs().max())
        difference = float((found - self._expected).abs().max())
        tolerance = _HALF_TOLERANCE if self._half else TOLERANCE
        # A comparison with NaN is false, so NaN is a problem too.
        if 0 < largest < float("inf") and difference <= tolerance * largest:
            return None
        return (
            f"logits of a text differ by {difference:.1e} between the text alone and "
            f"in a batch (largest logit {largest:.1e})"
        )

    def _logits(self, collator: Collator, rows: TokenLists) -> Tensor:
        inputs = to_device(collator.inputs(rows), self._model.device)
        precision = self._autocast() if self._half else torch.no_grad()
        with _undisturbed(self._model), precision:
            logits: Tensor = self._model(**inputs).logits.float()
        return logits


@contextmanager
def _undisturbed(model: PreTrainedModel) -> Iterator[None]:
    """Prepares a model for one comparison and restores everything at the end.

    Within: evaluation mode, a head that hides no difference, and operations without
    a deterministic implementation are allowed, because the run may never use them.
    """
    training = model.training
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    head = _head(model)
    parameters = [] if head is None else list(head.parameters())
    weights = [parameter.data for parameter in parameters]
    model.eval()
    torch.use_deterministic_algorithms(False)
    try:
        for parameter in parameters:
            parameter.data = _probe(parameter)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            yield
    finally:
        for parameter, data in zip(parameters, weights, strict=True):
            parameter.data = data
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        model.train(training)


def _head(model: PreTrainedModel) -> nn.Linear | None:
    """Finds the layer that makes the logits.

    It is the last linear layer with as many outputs as labels, outside of adapters.
    """
    head = None
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear) or ".lora_" in name:
            continue
        if module.out_features == model.config.num_labels:
            head = module
    return head


def _probe(parameter: Tensor) -> Tensor:
    """Makes weights that show a difference in any direction.

    A bias becomes zero because it would only hide differences.
    """
    if parameter.ndim == 1:
        return torch.zeros_like(parameter)
    num_inputs = parameter.shape[1]
    generator = np.random.Generator(np.random.PCG64(0))
    values = generator.standard_normal(tuple(parameter.shape))
    return torch.from_numpy(values / num_inputs**0.5).to(parameter)
