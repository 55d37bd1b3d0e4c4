"""Texts that the processes of a training leave for each other in a store."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from ostinato.errors import ProcessLost

_FAILURE = "failure"
_POLL_SECONDS = 0.05


class TextStore(Protocol):
    """What this module uses of a store of torch.distributed."""

    def set(self, key: str, value: str, /) -> None:
        """Stores a text."""

    def get(self, key: str, /) -> bytes:
        """The text under a key, in UTF-8."""

    def check(self, keys: list[str], /) -> bool:
        """Whether there are texts under all these keys."""

    def compare_set(self, key: str, expected: str, desired: str, /) -> bytes:
        """Stores a text if there is none and `expected` is empty."""


class Messages:
    """Texts under names. Every method raises `ProcessLost` if the store is gone.

    Args:
        store: the key-value store that all processes reach.
    """

    def __init__(self, store: TextStore) -> None:
        self._store = store

    def publish(self, name: str, text: str) -> None:
        """Stores a text under a name."""
        with lost_processes():
            self._store.set(name, text)

    def publish_once(self, name: str, text: str) -> None:
        """Stores a text under a name, unless there is one."""
        with lost_processes():
            self._store.compare_set(name, "", text)

    def read(self, name: str) -> str | None:
        """The text under a name; None if there is none."""
        with lost_processes():
            if not self._store.check([name]):
                return None
            return self._store.get(name).decode()

    def wait_for(
        self,
        name: str,
        timeout: float,
        check: Callable[[], None] = lambda: None,
        rank: int | None = None,
    ) -> str:
        """The text that another process stores under a name.

        Args:
            name: the name.
            timeout: seconds to wait.
            check: called again and again while there is no text.
            rank: the process that stores it, for the error.

        Raises:
            ProcessLost: there is no text in time, or a process has failed.
        """
        end = time.monotonic() + timeout
        while (text := self.read(name)) is None:
            if self.read(_FAILURE) is not None:
                raise ProcessLost("a process has failed")
            if time.monotonic() > end:
                raise ProcessLost(f"no answer for {timeout:g} s", rank)
            check()
            time.sleep(_POLL_SECONDS)
        return text

    def report_failure(self, failure: Mapping[str, Any]) -> None:
        """Tells process 0 why this process ends; the first reason counts."""
        with suppress(ProcessLost):
            self.publish_once(_FAILURE, json.dumps(failure))

    def report_lost_process(self, rank: int) -> None:
        """Tells process 0 that a process ends because another one does not answer."""
        with suppress(ProcessLost):
            self.publish(f"lost/{rank}", "")

    def why_lost(
        self, size: int, wait: float
    ) -> tuple[dict[str, Any] | None, list[int]]:
        """Why other processes ended.

        Args:
            size: number of processes.
            wait: seconds to wait for reasons.

        Returns:
            The failure that a process reported, or None; the processes that say
            nothing.
        """
        end = time.monotonic() + wait
        silent = list(range(1, size))
        with suppress(ProcessLost):
            while silent and time.monotonic() < end:
                if (failure := self.read(_FAILURE)) is not None:
                    return json.loads(failure), []
                silent = [r for r in silent if self.read(f"lost/{r}") is None]
                time.sleep(_POLL_SECONDS)
        return None, silent


@contextmanager
def lost_processes() -> Iterator[None]:
    """Turns the errors of torch.distributed into `ProcessLost`."""
    try:
        yield
    except RuntimeError as error:  # and torch.distributed.DistError
        raise ProcessLost(str(error)) from error
