"""The benchmark of several processes: the same step twice, and the bytes it sends."""

import sys

import pytest
from runs import configure

from ostinato.config import BenchmarkConfig, BenchmarkMode
from ostinato.errors import ConfigError
from ostinato.proof.benchmark_processes import measure_processes

COMMANDS = 0.05  # share of a tiny step's bytes that are not gradients


def measure(processes, *overrides):
    cfg = BenchmarkConfig(
        mode=BenchmarkMode.processes, steps=1, turns=1, processes=processes
    )
    config, _ = configure(*overrides)
    return measure_processes(cfg, config)


@pytest.fixture(scope="module")
def measured():
    return measure([1, 3], "training.accumulate=5")


@pytest.mark.proof
def test_both_sums_are_measured_in_the_same_step(measured):
    (turn,) = measured["turns"]
    alone, three = turn["1"]["fixed_order"], turn["3"]["fixed_order"]
    assert (three["loss"], three["grad_norm"]) == (alone["loss"], alone["grad_norm"])
    peer = turn["3"]["all_reduce"]
    assert peer["loss"] == pytest.approx(alone["loss"], rel=1e-5)
    assert peer["grad_norm"] == pytest.approx(alone["grad_norm"], rel=1e-4)
    summary = measured["processes"]["3"]
    ratio = peer["step_s"] / three["step_s"]
    assert summary["times_all_reduce"] == pytest.approx(ratio)


@pytest.mark.proof
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's counters")
def test_the_bytes_that_are_sent_are_those_that_are_computed(measured):
    three = measured["processes"]["3"]
    # Each of two rounds sends 2/3 of the gradient, and so does the end of the step.
    assert three["transfers"] == 3
    assert three["computed_bytes"] == pytest.approx(3 * 2 / 3 * three["gradient_bytes"])
    assert three["sent_bytes"] == pytest.approx(three["computed_bytes"], rel=COMMANDS)
    peer, ring = three["all_reduce_sent_bytes"], three["ring_bytes"]
    assert peer == pytest.approx(ring, rel=COMMANDS)
    assert measured["processes"]["1"]["computed_bytes"] == 0


@pytest.mark.parametrize(
    ("processes", "overrides", "message"),
    [
        (
            [1, 4],
            ["training.accumulate=3"],
            "processes=[1,4]: a step has fewer micro-batches (training.accumulate=3); "
            "use overrides=[training.accumulate=4] or a multiple of it",
        ),
        (
            [],
            [],
            "processes=[]: use one number or more, e.g. processes=[1,2]",
        ),
        (
            [1],
            ["training.compile=true"],
            "training.compile=true: mode=processes measures no compiled model; "
            "use false",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(processes, overrides, message):
    with pytest.raises(ConfigError) as caught:
        measure(processes, *overrides)
    assert str(caught.value) == message
