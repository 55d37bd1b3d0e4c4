"""The key-value stores in which the processes of a training meet."""

import os
import socket
import sys

from torch.distributed import (  # type: ignore[attr-defined]
    PrefixStore,
    TCPStore,
    rendezvous,
)
from torch.distributed import Store as Store  # type: ignore[attr-defined]


def serve_store() -> TCPStore:
    """Starts a store that only processes of this machine reach, at a free port."""
    _use_loopback()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    return TCPStore(
        "127.0.0.1",
        port,
        is_master=True,
        wait_for_workers=False,
        master_listen_fd=listener.detach(),
    )


def serve_open_store(port: int) -> TCPStore:
    """Starts a store that other machines reach."""
    return TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)


def join_store(port: int) -> Store:
    """Connects to the store that another process of this machine serves."""
    _use_loopback()
    return TCPStore("127.0.0.1", port, is_master=False, wait_for_workers=False)


def _use_loopback() -> None:
    """Keeps the processes of one machine off its network."""
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")


def torchrun_store() -> Store:
    """Connects to the store of torchrun's processes.

    It keeps its texts when torchrun restarts the processes.
    """
    store: Store
    store, _, _ = next(rendezvous("env://"))
    return PrefixStore("ostinato", store)


def part_of_store(store: Store, name: str) -> Store:
    """A part of a store with its own keys."""
    return PrefixStore(name, store)


def store_of_run(store: Store, number: int | None = None) -> Store:
    """The part of torchrun's store that belongs to one run.

    Args:
        store: torchrun's store.
        number: number of the run, from 1; None begins the next one.
    """
    return PrefixStore(f"run/{number or store.add('runs', 1)}", store)
