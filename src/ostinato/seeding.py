"""Randomness as a function of (seed, purpose, counters), and the determinism level. Draws nothing itself."""

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


def derive_seed(seed: int, purpose: str, *counters: int) -> int:
    """Maps (seed, purpose, counters) to a seed of 63 bits; the same for ever, on every machine.

    Args:
        seed: the user's seed, 0 included.
        purpose: what the numbers are for, e.g. "dropout".
        *counters: where in the run, e.g. step and micro-batch.
    """
    text = "/".join([str(seed), purpose, *map(str, counters)])
    return (
        int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
        >> 1
    )


class Seeds:
    """The streams of one run: the user's seed, with single purposes overridden."""

    def __init__(self, seed: int, overrides: SeedsConfig) -> None:
        self._seed = seed
        self._overrides = overrides

    def derive(self, purpose: str, *counters: int) -> int:
        """Seed of a purpose ("head", "order", "dropout", "split", "subsample") at the given counters."""
        own: int | None = getattr(self._overrides, purpose)
        return derive_seed(self._seed if own is None else own, purpose, *counters)


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and torch (all devices), so that no library starts from the clock."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def set_environment() -> None:
    """Sets what libraries read only once: call before the first matrix product, CUDA or tokenizer work."""
    os.environ.setdefault(
        "MKL_CBWR", "AUTO"
    )  # MKL: static schedules and reductions; costs nothing that shows
    os.environ.setdefault(
        "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
    )  # cuBLAS is deterministic only with a fixed workspace
    os.environ.setdefault(
        "TOKENIZERS_PARALLELISM", "false"
    )  # forked workers after a parallel tokenizer dead-lock


def set_determinism(level: Determinism) -> None:
    """Chooses deterministic algorithms (cuDNN included) and switches TF32 and autotuning off.

    With `strict`, torch raises RuntimeError naming the operation that has no deterministic implementation.
    """
    set_environment()
    torch.use_deterministic_algorithms(
        level is not Determinism.off, warn_only=level is Determinism.warn
    )
    # Filling memory that is about to be overwritten shows bugs, changes no result, and takes an eighth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.deterministic = level is not Determinism.off
    torch.backends.cudnn.benchmark = (
        False  # autotuning may pick another kernel on every start
    )
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


@contextmanager
def name_nondeterminism() -> Iterator[set[str]]:
    """Turns torch's refusal of an operation under `strict` into a line for the user, its warnings under `warn` as well.

    Yields:
        The operations that torch warned of so far.

    Raises:
        DeterminismError: names the operation and the remedy.
    """
    warned: set[str] = set()
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Warning | str, *rest: Any) -> None:
            operation = _without_implementation(str(message))
            if operation is None:
                shown(message, *rest)
            elif operation not in warned:
                warned.add(operation)
                log.warning(
                    "training.determinism=warn: %s has no deterministic implementation on this device",
                    operation,
                )

        warnings.showwarning = show  # type: ignore[assignment]
        with _refusal_named():
            yield warned


@contextmanager
def _refusal_named() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        operation = _without_implementation(str(error))
        if operation is None:
            raise
        raise DeterminismError(
            f"training.determinism=strict: {operation} has no deterministic implementation on this device; "
            "take another model.attention or device, or training.determinism=warn"
        ) from error


def _without_implementation(message: str) -> str | None:
    for told in (
        " does not have a deterministic implementation",
        " defaults to a non-deterministic algorithm",
    ):
        operation, found, _ = message.partition(told)
        if found:
            return operation
    return None
