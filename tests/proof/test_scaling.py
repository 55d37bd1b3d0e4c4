"""The model of communication: by hand, and as docs/performance.md shows it."""

from dataclasses import replace
from pathlib import Path

import pytest

from ostinato.proof.scaling import (
    Network,
    Work,
    fixed_order_bytes,
    fixed_order_efficiency,
    ring_bytes,
    ring_efficiency,
)

DOCS = Path(__file__).parents[2] / "docs" / "performance.md"
FAST = Network(4, bandwidth=100.0, latency=0.0)
WORK = Work(gradient=400.0, tail=0.25, seconds=9.0)

# The sources of these numbers are in docs/performance.md.
WORKS = {
    "BERT-base": Work(440e6, tail=0.21, seconds=32 / 285),
    "7 B, LoRA r = 64": Work(573e6, tail=1 / 22, seconds=2.8 / 8),
    "7 B, LoRA r = 8": Work(16.8e6, tail=1.0, seconds=2.8 / 8),
}
ETHERNET = {"bandwidth": 25e9 / 8, "latency": 14e-6}
NVLINK = {"bandwidth": 235e9, "latency": 3.4e-6}
NETWORKS = {
    "8 GPUs, NVLink": Network(8, **NVLINK),
    "64 GPUs, NVLink": Network(64, **NVLINK),
    "8 machines of 1 GPU, 25 Gbit/s": Network(8, **ETHERNET),
    "64 machines of 1 GPU, 25 Gbit/s": Network(64, **ETHERNET),
    "8 machines of 8 GPUs, 25 Gbit/s each": Network(64, **ETHERNET, sharing=8),
}


def table():
    rows = []
    for name, work in WORKS.items():
        for place, network in NETWORKS.items():
            cells = [
                f"{100 * efficiency(network, replace(work, rounds=rounds), overlap):.0f} %"
                for rounds in (1, 4)
                for efficiency in (fixed_order_efficiency, ring_efficiency)
                for overlap in (False, True)
            ]
            pairs = zip(cells[::2], cells[1::2], strict=True)
            rows.append(" | ".join([name, place, *(f"{a}, {b}" for a, b in pairs)]))
    return [f"| {row} |" for row in rows]


def test_bytes():
    # Two rounds to the owners of quarters, and one way back.
    assert fixed_order_bytes(4, 400, transfers=3) == 900
    assert ring_bytes(4, 400) == 600
    assert fixed_order_bytes(1, 400, transfers=3) == ring_bytes(1, 400) == 0


@pytest.mark.parametrize(
    ("rounds", "overlap", "fixed_order", "ring"),
    [
        # A transfer of 300 bytes takes 3 s, a ring's all-reduce 6 s. The backward pass
        # of 6 s hides all but the last quarter of a transfer.
        (1, False, 9 / (9 + 3 + 3), 9 / (9 + 6)),
        (1, True, 9 / (9 + 0.75 + 3), 9 / (9 + 1.5)),
        (2, False, 18 / (18 + 2 * 3 + 3), 18 / (18 + 6)),
        (2, True, 18 / (18 + 2 * 0.75 + 3), 18 / (18 + 1.5)),
    ],
)
def test_efficiency(rounds, overlap, fixed_order, ring):
    work = replace(WORK, rounds=rounds)
    assert fixed_order_efficiency(FAST, work, overlap) == pytest.approx(fixed_order)
    assert ring_efficiency(FAST, work, overlap) == pytest.approx(ring)


def test_a_transfer_that_is_longer_than_the_backward_pass_delays_the_step():
    slow = replace(FAST, bandwidth=10.0)
    efficiency = fixed_order_efficiency(slow, WORK, overlap=True)
    assert efficiency == pytest.approx(9 / (9 + (30 - 6) + 30))


def test_processes_of_a_machine_share_its_link():
    # Two processes send half of their gradient, 200 bytes each, to the other machine.
    shared = replace(FAST, sharing=2)
    assert fixed_order_efficiency(shared, WORK, overlap=False) == pytest.approx(
        9 / (9 + 4 + 3)
    )
    assert ring_efficiency(shared, WORK, overlap=False) == pytest.approx(9 / (9 + 6))


def test_each_message_costs_its_latency():
    late = replace(FAST, latency=1.0)
    # One slice: three messages to the owners, three back.
    assert fixed_order_efficiency(late, WORK, overlap=False) == pytest.approx(
        9 / (9 + 3 + 3 + 3 + 3)
    )


def test_the_documentation_shows_these_numbers():
    shown = DOCS.read_text(encoding="utf-8").splitlines()
    assert [row for row in table() if row not in shown] == []
