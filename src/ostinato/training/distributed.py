"""The processes that share one training, and the bytes that they exchange.

Only this module and `stores` use torch.distributed. It moves bytes and adds no
numbers, so that a result cannot depend on the number of processes.
"""

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]

from ostinato.config import Device
from ostinato.model.device import count_gpus
from ostinato.torchrun import Place
from ostinato.training.messages import Messages, lost_processes

_COMMAND_BYTES = 256
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
        messages: the texts that the processes leave for each other.
        backend: the libraries that move the bytes.
    """

    def __init__(self, store: Store, place: Place) -> None:
        self.place = place
        self.messages = Messages(store)
        self._store = store
        self.backend = "gloo"

    def choose_device(self, device: Device) -> None:
        """Takes the GPU of this process, if the training uses GPUs."""
        if count_gpus(device):
            torch.cuda.set_device(self.place.local_rank)
            self.backend = "cpu:gloo,cuda:nccl"

    def form(self, timeout: float, check: Callable[[], None] = lambda: None) -> None:
        """Connects the processes, when all of them are ready.

        Args:
            timeout: seconds that a process waits for the others, here and later.
            check: called again and again while a process is missing.
        """
        self.messages.publish(_ready(self.rank), "")
        for rank in range(self.size):
            self.messages.wait_for(_ready(rank), timeout, check, rank)
        check()  # One that was ready can have ended.

        errors = []
        # A call that waits keeps the connection to the store for itself.
        own = self._store.clone()  # type: ignore[attr-defined]

        def connect() -> None:
            try:
                dist.init_process_group(
                    backend=self.backend,
                    store=PrefixStore("group", own),
                    rank=self.place.rank,
                    world_size=self.place.size,
                    timeout=timedelta(seconds=timeout),
                )
            except Exception as error:
                errors.append(error)

        # Signals and `check` cannot interrupt the call itself.
        connecting = threading.Thread(target=connect, daemon=True)
        connecting.start()
        while connecting.is_alive():
            check()
            connecting.join(_POLL_SECONDS)
        with lost_processes():
            for error in errors:
                raise error

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
        with lost_processes():
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensors of all processes, [size, *shape], in the order of processes."""
        everyone = tensor.new_empty((self.size, *tensor.shape))
        with lost_processes():
            dist.all_gather_single(everyone.view(-1), tensor.reshape(-1))
        return everyone

    def start_gather(self, whole: Tensor, part: Tensor) -> "Transfer":
        """Starts to fill `whole` with the parts of all processes, in their order.

        Args:
            whole: [size * length].
            part: [length], of this process.
        """
        with lost_processes():
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
        with lost_processes():
            work = dist.all_to_all_single(
                received.view(-1),
                sent if sends else sent[:0],
                [length if sender else 0 for sender in senders],
                [length if sends else 0] * self.size,
                async_op=True,
            )
        return Transfer(work)


@dataclass(frozen=True)
class Transfer:
    """A transfer that has started."""

    _work: dist.Work

    def wait(self) -> None:
        """Waits until the tensors are complete."""
        with lost_processes():
            self._work.wait()


def _ready(rank: int) -> str:
    return f"ready/{rank}"
