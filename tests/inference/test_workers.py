"""Processes that compute tasks: order, memory, errors, and how they end."""

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from ostinato.config import Device
from ostinato.errors import ConfigError, DataError, ProcessFailed
from ostinato.inference.workers import Workers, started
from ostinato.model.device import check_processes, count_processes

COUNT = 3


def load(message: str = "") -> Callable[[str], object]:
    """What each process loads: a function that obeys its task."""
    if message:
        raise ConfigError([message, "and another line"])
    return obey


def obey(task: str) -> object:
    action, _, argument = task.partition(" ")
    if action == "stop":
        os.kill(os.getpid(), getattr(signal, argument))
    elif action == "mistake":
        raise DataError(argument)
    elif action == "bug":
        raise KeyError(argument)
    elif action == "sleep":
        time.sleep(float(argument.split()[0]))
    elif action == "state":
        return os.getpid(), torch.get_num_threads()
    return task


def workers(*arguments: str, timeout: float = 100):
    return started(load, arguments, count=COUNT, device=Device.cpu, timeout=timeout)


@pytest.fixture(scope="module")
def healthy() -> Iterator[Workers]:
    with workers() as found:
        yield found


@pytest.mark.slow
def test_results_come_in_the_order_of_the_tasks(healthy: Workers) -> None:
    tasks = [f"sleep {0.05 * (n % 3)} {n}" for n in range(20)]
    assert list(healthy.map(tasks)) == tasks


def test_an_endless_stream_is_computed_in_constant_memory(healthy: Workers) -> None:
    read = 0

    def tasks() -> Iterator[str]:
        nonlocal read
        for read in itertools.count(1):
            yield f"echo {read}"

    for computed, result in enumerate(itertools.islice(healthy.map(tasks()), 50), 1):
        assert result == f"echo {computed}"
        assert read <= computed + 2 * COUNT


def test_results_come_before_the_error_of_a_later_task(healthy: Workers) -> None:
    def tasks() -> Iterator[str]:
        yield "sleep 0.1"
        yield "sleep 0.2"
        raise DataError("in.csv, line 3: open quote")

    results = healthy.map(tasks())
    assert [next(results), next(results)] == ["sleep 0.1", "sleep 0.2"]
    with pytest.raises(DataError, match="line 3: open quote"):
        next(results)


@pytest.mark.parametrize(
    ("task", "message", "exit_code"),
    [
        ("mistake row 3: is empty", "^row 3: is empty$", 2),
        ("bug key", "^KeyError: 'key'$", 1),
    ],
)
def test_an_error_in_a_process_is_raised(
    healthy: Workers, task: str, message: str, exit_code: int
) -> None:
    results = healthy.map(["echo 1", task, "mistake another"])
    assert next(results) == "echo 1"
    with pytest.raises(ProcessFailed, match=message) as raised:
        next(results)
    assert raised.value.exit_code == exit_code


def test_a_mistake_while_loading_is_raised() -> None:
    with (
        workers("run=a: holds no model") as found,
        pytest.raises(ProcessFailed) as raised,
    ):
        next(found.map(["echo"]))
    assert str(raised.value) == "run=a: holds no model\nand another line"
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("task", "timeout", "message"),
    [
        ("stop SIGKILL", 100, r"process \d of 3: killed by SIGKILL; memory may have"),
        ("stop SIGSEGV", 100, r"process \d of 3: killed by SIGSEGV"),
        ("stop SIGSTOP", 1, r"a process has not answered for 1 s; raise process_time"),
    ],
)
def test_a_process_that_does_not_answer_ends_all(
    task: str, timeout: float, message: str
) -> None:
    with (
        workers(timeout=timeout) as found,
        pytest.raises(ProcessFailed, match=message) as raised,
    ):
        list(found.map([task, *["echo"] * 20]))
    assert raised.value.exit_code == 1


def test_the_processes_end_with_the_block() -> None:
    with workers() as found:
        states = list(found.map(["state"] * 20))
        next(found.map(["echo", "sleep 1000", "sleep 1000"]))
    for process, threads in states:
        assert threads == torch.get_num_threads()
        assert not Path(f"/proc/{process}").exists()


def test_the_number_of_processes_is_that_of_gpus_or_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert count_processes("auto", Device.auto) == 2
    assert count_processes("auto", Device.cpu) == 1
    assert count_processes(3, Device.cpu) == 3
    with pytest.raises(ConfigError, match="processes=3: this machine has 2 GPUs"):
        check_processes("processes", 3, Device.cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert count_processes("auto", Device.auto) == 1
    with pytest.raises(ConfigError, match=r"processes=1000: this machine has \d+ cor"):
        check_processes("processes", 1000, Device.auto)
