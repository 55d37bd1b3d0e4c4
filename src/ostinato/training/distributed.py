"""The processes that share one training, and the bytes that they exchange.

Only this module uses torch.distributed. It moves bytes and adds no numbers, so that a
result cannot depend on the number of processes.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import (  # type: ignore[attr-defined]
    PrefixStore,
    Store,
    TCPStore,
    rendezvous,
)

from ostinato.errors import ProcessLost
from ostinato.torchrun import Place

_COMMAND_BYTES = 256
_FAILURE = "failure"
_POLL_SECONDS = 0.05


class Team:
    """All processes of a training, seen from one of them.

    Every process calls the same methods in the same order, except `tell` and `hear`,
    which belong together.

    Args:
        store: the key-value store that all processes reach.
        place: which of the processes this is.

    Attributes:
        place: which of the processes this is.
        backend: the libraries that move the bytes.
    """

    def __init__(self, store: Store, place: Place) -> None:
        self.place = place
        self._store = store
        self.backend = "gloo"
        if torch.cuda.is_available():
            torch.cuda.set_device(place.local_rank)
            self.backend = "cpu:gloo,cuda:nccl"

    def form(self, timeout: float) -> None:
        """Connects the processes, when all of them are ready.

        Args:
            timeout: seconds that a process waits for the others, here and later.
        """
        with _lost_processes():
            dist.init_process_group(
                backend=self.backend,
                store=PrefixStore("group", self._store),
                rank=self.place.rank,
                world_size=self.place.size,
                timeout=timedelta(seconds=timeout),
            )

    @property
    def rank(self) -> int:
        """The number of this process."""
        return self.place.rank

    @property
    def size(self) -> int:
        """The number of processes."""
        return self.place.size

    def close(self) -> None:
        """Leaves the group."""
        if dist.is_initialized():
            dist.destroy_process_group()

    # What the processes are told.

    def publish(self, name: str, text: str) -> None:
        """Stores a text under a name."""
        with _lost_processes():
            self._store.set(name, text)

    def wait_for(
        self, name: str, timeout: float, check: Callable[[], None] = lambda: None
    ) -> str:
        """The text that another process stores under a name.

        Args:
            name: the name.
            timeout: seconds to wait.
            check: called again and again while there is no text.

        Raises:
            ProcessLost: there is no text in time, or a process has failed.
        """
        end = time.monotonic() + timeout
        with _lost_processes():
            while not self._store.check([name]):
                if self._store.check([_FAILURE]):
                    raise ProcessLost("a process has failed")
                if time.monotonic() > end:
                    raise ProcessLost(f"no answer for {timeout:g} s")
                check()
                time.sleep(_POLL_SECONDS)
            text: str = self._store.get(name).decode()
        return text

    def tell(self, command: Mapping[str, Any]) -> list[int]:
        """Tells the other processes what to do next.

        Args:
            command: small plain data.

        Returns:
            The signals that other processes received since the last command.
        """
        text = json.dumps(command).encode()
        messages = self._exchange_messages(text)
        return [int(message) for message in messages[1:] if message.isdigit()]

    def hear(self, signal: int | None) -> dict[str, Any]:
        """Waits for the next command of process 0.

        Args:
            signal: a signal that this process received, for process 0.
        """
        messages = self._exchange_messages(str(signal or "").encode())
        command: dict[str, Any] = json.loads(messages[0])
        return command

    def _exchange_messages(self, own: bytes) -> list[bytes]:
        assert len(own) <= _COMMAND_BYTES, "commands are small"
        padded = np.frombuffer(own.ljust(_COMMAND_BYTES), dtype=np.uint8)
        everyone = self.gather(torch.from_numpy(padded.copy()))
        return [bytes(message.numpy()).strip() for message in everyone]

    # What the processes compute.

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Overwrites tensors with those of process 0."""
        with _lost_processes():
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensors of all processes, [size, *shape], in the order of processes."""
        everyone = tensor.new_empty((self.size, *tensor.shape))
        with _lost_processes():
            dist.all_gather_single(everyone.view(-1), tensor.reshape(-1))
        return everyone

    def start_gather(self, whole: Tensor, part: Tensor) -> "Transfer":
        """Starts to fill `whole` with the parts of all processes, in their order.

        Args:
            whole: [size * length].
            part: [length], of this process.
        """
        with _lost_processes():
            work = dist.all_gather_single(whole, part, async_op=True)
        return Transfer(work)

    def start_exchange(
        self, received: Tensor, sent: Tensor, senders: Sequence[bool]
    ) -> "Transfer":
        """Starts to send one part of a tensor to each process.

        Args:
            received: gets one part from each sender, in their order, [senders, length].
            sent: [size * length]; part i goes to process i.
            senders: whether each process sends.
        """
        length = received.shape[1]
        sends = senders[self.rank]
        with _lost_processes():
            work = dist.all_to_all_single(
                received.view(-1),
                sent if sends else sent[:0],
                [length if sender else 0 for sender in senders],
                [length if sends else 0] * self.size,
                async_op=True,
            )
        return Transfer(work)

    # How the processes fail.

    def report_failure(self, failure: Mapping[str, Any]) -> None:
        """Tells process 0 why this process ends; the first reason counts."""
        self._store.compare_set(_FAILURE, "", json.dumps(failure))

    def reported_failure(self, wait: float) -> dict[str, Any] | None:
        """Why another process ended; None if no process says so in time.

        Args:
            wait: seconds.
        """
        end = time.monotonic() + wait
        while not self._store.check([_FAILURE]):
            if time.monotonic() > end:
                return None
            time.sleep(_POLL_SECONDS)
        failure: dict[str, Any] = json.loads(self._store.get(_FAILURE))
        return failure


def lasting_store() -> Store:
    """Connects to the store that keeps its texts when torchrun restarts processes."""
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(host, port, is_master=False, wait_for_workers=False)
    return PrefixStore("ostinato", store)


@dataclass(frozen=True)
class Transfer:
    """A transfer that has started."""

    _work: dist.Work

    def wait(self) -> None:
        """Waits until the tensors are complete."""
        with _lost_processes():
            self._work.wait()


def serve_store(port: int = 0) -> TCPStore:
    """Starts a store, which all machines reach.

    Args:
        port: its port; 0 takes a free one.
    """
    return TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)


def join_store(port: int) -> Store:
    """Connects to the store that another process of this machine serves."""
    return TCPStore("127.0.0.1", port, is_master=False, wait_for_workers=False)


def torchrun_store() -> Store:
    """Connects to the store of torchrun's processes; each restart has an empty one."""
    store: Store
    store, _, _ = next(rendezvous("env://"))
    return store


def store_of_run(store: Store, number: int | None = None) -> Store:
    """The part of torchrun's store that belongs to one run.

    Args:
        store: torchrun's store.
        number: number of the run, from 1; None begins the next one.
    """
    return PrefixStore(f"run/{number or store.add('runs', 1)}", store)


@contextmanager
def _lost_processes() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, dist.DistError) as error:
        raise ProcessLost(str(error)) from error
