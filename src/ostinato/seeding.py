"""Randomness as a function of (seed, purpose, counters), and the determinism level.

Draws no random numbers.
"""

import hashlib
import logging
import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from ostinato.config import Determinism, SeedsConfig
from ostinato.errors import DeterminismError

log = logging.getLogger(__name__)

# How torch begins its messages about an operation, after the operation's name.
_NOT_DETERMINISTIC = (
    " does not have a deterministic implementation",
    " defaults to a non-deterministic algorithm",
)


def derive_seed(seed: int, purpose: str, *counters: int) -> int:
    """Maps (seed, purpose, counters) to a seed of 63 bits.

    The result is the same in every version of this program and on every machine.

    Args:
        seed: the user's seed, 0 included.
        purpose: what the numbers are for, e.g. "dropout".
        *counters: where in the run, e.g. step and micro-batch.
    """
    text = "/".join([str(seed), purpose, *map(str, counters)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class Seeds:
    """The random streams of one run.

    Args:
        seed: the user's seed.
        overrides: other seeds for single purposes.
    """

    def __init__(self, seed: int, overrides: SeedsConfig) -> None:
        self._seed = seed
        self._overrides = overrides

    def derive(self, purpose: str, *counters: int) -> int:
        """Seed of a purpose at the given counters.

        Args:
            purpose: "head", "adapter", "order", "dropout", "split" or "subsample".
            *counters: where in the run, e.g. step and micro-batch.
        """
        override: int | None = getattr(self._overrides, purpose)
        seed = self._seed if override is None else override
        return derive_seed(seed, purpose, *counters)


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and torch (all devices).

    No library then takes its seed from the clock.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def set_environment() -> None:
    """Sets what libraries read only once.

    Call it before the first matrix product, CUDA or tokenizer work.
    """
    # MKL: static schedules and reductions, at no measurable cost.
    os.environ.setdefault("MKL_CBWR", "AUTO")
    # cuBLAS is deterministic only with a fixed workspace.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Workers that are forked after a parallel tokenizer ran can deadlock.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def set_determinism(level: Determinism) -> None:
    """Chooses deterministic algorithms (cuDNN included), without TF32 and autotuning.

    With `strict`, torch raises a RuntimeError that names the operation without a
    deterministic implementation.
    """
    set_environment()
    is_on = level is not Determinism.off
    only_warns = level is Determinism.warn
    torch.use_deterministic_algorithms(is_on, warn_only=only_warns)
    # Filling uninitialised memory shows bugs, but it changes no result and takes an
    # eighth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.deterministic = is_on
    # Autotuning can choose another kernel on every start.
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


@contextmanager
def name_nondeterminism() -> Iterator[set[str]]:
    """Names operations without a deterministic implementation in one line each.

    Under `strict`, torch's error becomes that line; under `warn`, its warnings do.

    Yields:
        The operations that torch warned about so far.

    Raises:
        DeterminismError: names the operation and the remedy.
    """
    warned: set[str] = set()
    with warnings.catch_warnings():
        show_others = warnings.showwarning

        def show(message: Warning | str, *rest: Any) -> None:
            operation = _named_operation(str(message))
            if operation is None:
                show_others(message, *rest)
            elif operation not in warned:
                warned.add(operation)
                log.warning("training.determinism=warn: %s", _problem(operation))

        warnings.showwarning = show  # type: ignore[assignment]
        with _one_line_error():
            yield warned


@contextmanager
def _one_line_error() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        operation = _named_operation(str(error))
        if operation is None:
            raise
        problem = _problem(operation)
        remedy = "use another model.attention or device, or training.determinism=warn"
        raise DeterminismError(
            f"training.determinism=strict: {problem}; {remedy}"
        ) from error


def _problem(operation: str) -> str:
    return f"{operation} has no deterministic implementation on this device"


def _named_operation(message: str) -> str | None:
    """The operation that torch's message names; None for other messages."""
    for text in _NOT_DETERMINISTIC:
        operation, found, _ = message.partition(text)
        if found:
            return operation
    return None
