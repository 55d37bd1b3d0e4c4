"""Whether a classifier gives a text the same logits alone and in a batch. Changes no weight and draws nothing."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ostinato.data.collate import Collator, to_device

TOLERANCE = 1e-4  # of the largest logit, in fp32; reordered sums differ by about 1e-6
_HALF_TOLERANCE = 3e-2  # flash attention computes in half precision only
_TEXTS = [
    "a",
    "it will rain",
    "the wind turns to the north and it will be cold in the second half of the day",
]
_LOOKED_AT = 64

Rows = dict[str, list[list[int]]]


def probe_rows(tokenizer: PreTrainedTokenizerBase, rows: Rows | None = None) -> Rows:
    """Chooses three short rows of unequal length, of the run's rows where they have two lengths.

    Args:
        tokenizer: makes rows where none fit.
        rows: column name to one list of integers per row.
    """
    names = [
        name
        for name in ("input_ids", "token_type_ids")
        if name in tokenizer.model_input_names
    ]
    if rows is not None:
        lengths = [len(ids) for ids in rows["input_ids"][:_LOOKED_AT]]
        order = np.argsort(lengths, kind="stable")
        chosen = [order[0], order[len(order) // 4], order[len(order) // 2]]
        if lengths[chosen[0]] == lengths[chosen[2]]:
            chosen[2] = order[-1]
        if 0 < lengths[chosen[0]] < lengths[chosen[2]]:
            return {name: [column[i] for i in chosen] for name, column in rows.items()}
    encoded = tokenizer(_TEXTS, truncation=True, padding=False)
    return {name: encoded[name] for name in names}


class Agreement:
    """Compares batches of a collator with the logits of each text alone.

    Args:
        model: the classifier as transformers makes it, not packed.
        rows: texts of unequal length.
        autocast: the run's precision; used only for flash attention, which knows no fp32.

    Raises:
        Exception: what the model raises on one text.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        rows: Rows,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._model, self._rows, self._autocast = model, rows, autocast
        self._half = "flash" in (model.config._attn_implementation or "")
        alone = Collator(0)  # one row has no padding
        singles = [
            {name: [column[i]] for name, column in rows.items()}
            for i in range(len(rows["input_ids"]))
        ]
        self._expected = torch.cat([self._logits(alone, single) for single in singles])

    def problem(self, collator: Collator) -> str | None:
        """Why batches of this collator cannot be used; None if they give the same logits."""
        try:
            found = self._logits(collator, self._rows)
        except Exception as error:  # whatever an architecture does not take
            return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        size = float(self._expected.abs().max())
        difference = float((found - self._expected).abs().max())
        allowed = (_HALF_TOLERANCE if self._half else TOLERANCE) * size
        if 0 < size < float("inf") and difference <= allowed:  # NaN is refused too
            return None
        return f"logits of a text differ by {difference:.1e} between the text alone and in a batch (size {size:.1e})"

    def _logits(self, collator: Collator, rows: Rows) -> Tensor:
        inputs = to_device(collator.inputs(rows), self._model.device)
        with (
            _undisturbed(self._model),
            self._autocast() if self._half else torch.no_grad(),
        ):
            logits: Tensor = self._model(**inputs).logits.float()
        return logits


@contextmanager
def _undisturbed(model: PreTrainedModel) -> Iterator[None]:
    """Evaluation mode, a head that hides no difference, and no complaint about determinism; all undone at the end."""
    training = model.training
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    head = _head(model)
    kept = (
        []
        if head is None
        else [(parameter, parameter.data) for parameter in head.parameters()]
    )
    model.eval()
    torch.use_deterministic_algorithms(
        False
    )  # one forward pass; the run itself may never use such an operation
    try:
        for parameter, _ in kept:
            parameter.data = _probe(parameter)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            yield
    finally:
        for parameter, data in kept:
            parameter.data = data
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        model.train(training)


def _head(model: PreTrainedModel) -> nn.Linear | None:
    """The layer that makes the logits: the last one with as many outputs as there are labels."""
    layers = [
        m
        for m in model.modules()
        if isinstance(m, nn.Linear) and m.out_features == model.config.num_labels
    ]
    return layers[-1] if layers else None


def _probe(parameter: Tensor) -> Tensor:
    """Weights that show a difference in any direction; zero for a bias, which would only hide it."""
    if parameter.ndim == 1:
        return torch.zeros_like(parameter)
    values = np.random.Generator(np.random.PCG64(0)).standard_normal(
        tuple(parameter.shape)
    )
    return torch.from_numpy(values / parameter.shape[1] ** 0.5).to(parameter)
