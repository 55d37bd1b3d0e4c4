"""Computes bytes and times of a step on networks that could not be measured.

A gradient of `size` bytes crosses the network in two ways: in fixed order, once per
round of micro-batches to the owners of its parts and once per step back to all; or in
an all-reduce along a ring, once per step.
"""

from dataclasses import dataclass

from ostinato.training.slices import SLICE_BYTES

_BACKWARD_SHARE = 2 / 3  # of a micro-batch; its matrix products are two of three


@dataclass(frozen=True)
class Network:
    """Processes and the links between them.

    Attributes:
        processes: number of processes.
        bandwidth: bytes per second of a link, in each direction.
        latency: seconds of a message.
        sharing: processes of one machine, which share a link to the other machines.
    """

    processes: int
    bandwidth: float
    latency: float
    sharing: int = 1


@dataclass(frozen=True)
class Work:
    """What a process computes in a step.

    Attributes:
        gradient: bytes of the gradient.
        tail: share of the gradient that is complete only when the backward pass ends.
        seconds: for a micro-batch, forward and backward.
        rounds: micro-batches of each process.
    """

    gradient: float
    tail: float
    seconds: float
    rounds: int = 1


def fixed_order_bytes(processes: int, gradient: float, transfers: int) -> float:
    """Bytes that a process sends in a step with the sum in fixed order.

    Args:
        processes: number of processes.
        gradient: bytes of the gradient.
        transfers: rounds of micro-batches, and one for the whole gradient. Divided
            moments add one for the weights.
    """
    return transfers * (processes - 1) / processes * gradient


def ring_bytes(processes: int, gradient: float) -> float:
    """Bytes that a process sends in a step with an all-reduce along a ring."""
    return 2 * (processes - 1) / processes * gradient


def fixed_order_efficiency(network: Network, work: Work, overlap: bool) -> float:
    """Share of a step that is not spent on waiting for the network.

    Args:
        network: the processes and links.
        work: what each process computes.
        overlap: whether slices travel while the backward pass goes on.
    """
    size, sharing = network.processes, network.sharing
    # Every process of a machine sends other bytes to every other machine.
    outside = sharing * (size - sharing) / size * work.gradient
    exchange = outside / network.bandwidth + _latency(network, work)
    waiting = _exposed(exchange, work, overlap)
    return _efficiency(work, work.rounds * waiting + _gather(network, work))


def ring_efficiency(network: Network, work: Work, overlap: bool) -> float:
    """The same with an all-reduce along a ring; see `fixed_order_efficiency`."""
    reduction = 2 * _gather(network, work)
    return _efficiency(work, _exposed(reduction, work, overlap))


def _gather(network: Network, work: Work) -> float:
    """Seconds for one turn of the ring, which enters and leaves each machine once."""
    size = network.processes
    sent = (size - 1) / size * work.gradient
    return sent / network.bandwidth + _latency(network, work)


def _latency(network: Network, work: Work) -> float:
    slices = max(1, round(work.gradient / SLICE_BYTES))
    return slices * (network.processes - 1) * network.latency


def _exposed(transfer: float, work: Work, overlap: bool) -> float:
    """The part of a transfer that the backward pass does not hide."""
    if not overlap:
        return transfer
    return max(work.tail * transfer, transfer - _BACKWARD_SHARE * work.seconds)


def _efficiency(work: Work, waiting: float) -> float:
    computing = work.rounds * work.seconds
    return computing / (computing + waiting)
