"""torchrun starts one run: one folder, the bits of one process, also after failures."""

import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path

import pytest
from runs import DEBUG, fingerprint, train_in

from ostinato.run_dir import RunDir, read_json

pytestmark = [pytest.mark.proof, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
TRAIN = str(ROOT / "scripts" / "train.py")
OPTIONS = (
    *DEBUG,
    "training.accumulate=4",
    "training.threads=1",
    "training.checkpoint_every=3",
    "tracker=jsonl",
)
LONG = ("training.epochs=60",)  # takes long enough to be killed at a step
SECONDS = 400


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return fingerprint(train_in(tmp_path_factory.mktemp("whole"), *OPTIONS[5:]))


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    return fingerprint(train_in(folder, *OPTIONS[5:], *LONG))


@pytest.fixture
def torchrun(tmp_path):
    """Starts torchrun in a folder; ends what is left of it after the test."""
    started = []

    def start(options, *arguments, prefix=(), name="agent"):
        command = [*prefix, sys.executable, "-m", "torch.distributed.run", *options]
        with (tmp_path / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                [*command, TRAIN, *arguments],
                cwd=tmp_path,
                stdout=log,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        started.append(process)
        return process

    yield start
    for process in started:
        for pid in workers(process).values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()


def local(count, *more):
    return ["--standalone", f"--nproc-per-node={count}", *more]


def workers(process):
    """The ids of the workers of a torchrun on this machine, by rank."""
    return {
        int(environment["RANK"]): pid
        for pid, parent, environment in processes()
        if parent == process.pid and "RANK" in environment
    }


def processes():
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            pairs = (folder / "environ").read_text().split("\0")
            environment = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
            yield int(folder.name), int(stat[1]), environment


def wait_until(happens, process=None):
    end = time.monotonic() + SECONDS
    while not (result := happens()):
        assert time.monotonic() < end
        assert process is None or process.poll() is None, "ended too early"
        time.sleep(0.05)
    return result


def has_steps(folder, count):
    def check():
        found = list(folder.glob("outputs/*/*/steps.jsonl"))
        return found and found[0].read_text().count("\n") >= count

    return check


def have_ended(pids):
    def check():
        for pid in pids:
            with suppress(OSError):
                stat = Path(f"/proc/{pid}/stat").read_text()
                if stat.rpartition(")")[2].split()[0] != "Z":
                    return False
        return True

    return check


def only_run(folder):
    """The only run folder."""
    (provenance,) = folder.rglob("provenance.json")
    assert len(list(folder.rglob("train.log"))) == 1
    assert len(list(folder.rglob(".hydra"))) <= 1
    return RunDir(provenance.parent)


def own_lines(folder, name="agent"):
    """The lines that the program printed, without those of torchrun."""
    return (folder / f"{name}.log").read_text()


def test_three_processes_make_one_folder_and_the_bits_of_one(whole, tmp_path, torchrun):
    process = torchrun(local(3), *OPTIONS)
    assert process.wait(SECONDS) == 0, own_lines(tmp_path)
    run = only_run(tmp_path)
    assert fingerprint(run) == whole
    assert own_lines(tmp_path).count("computing on cpu") == 1
    facts = read_json(run.provenance)["processes"]
    assert facts["count"] == 3

    again = torchrun(local(3), f"resume={run.path}")
    assert again.wait(SECONDS) == 0, own_lines(tmp_path)
    assert "finished already" in own_lines(tmp_path)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("backend", ["c10d", "static"])
def test_a_killed_worker_restarts_all_in_the_same_folder(
    rank, backend, long, tmp_path, torchrun
):
    options = local(3) if backend == "c10d" else ["--nproc-per-node=3"]
    if backend == "static":
        options.append(f"--master-port={free_port()}")
    process = torchrun([*options, "--max-restarts=2"], *OPTIONS, *LONG)
    wait_until(has_steps(tmp_path, 30), process)
    os.kill(workers(process)[rank], signal.SIGKILL)
    assert process.wait(SECONDS) == 0, own_lines(tmp_path)
    assert "resuming at step" in own_lines(tmp_path)
    assert fingerprint(only_run(tmp_path)) == long


def free_port():
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.parametrize("killed", ["worker of 1", "worker of 2"])
def test_the_loss_of_an_agent_continues_with_fewer_processes(
    killed, long, tmp_path, torchrun
):
    elastic = [
        "--nnodes=1:2",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint=127.0.0.1:{free_port()}",
        f"--rdzv-id={uuid.uuid4().hex}",
        "--local-addr=127.0.0.1",
        "--max-restarts=3",
    ]
    store = "--rdzv-conf=last_call_timeout=60,keep_alive_interval=1,is_host="
    keep, lose = (2, 1) if killed == "worker of 1" else (1, 2)
    here = [*elastic, f"{store}true", f"--nproc-per-node={keep}"]
    there = [*elastic, f"{store}false", f"--nproc-per-node={lose}"]
    first = torchrun(here, *OPTIONS, *LONG)
    second = torchrun(there, *OPTIONS, *LONG, name="second")
    wait_until(has_steps(tmp_path, 30), first)
    lost = list(workers(second).values())
    second.kill()
    assert first.wait(SECONDS) == 0, own_lines(tmp_path)
    run = only_run(tmp_path)
    assert fingerprint(run) == long
    assert read_json(run.provenance)["processes"]["count"] == keep
    wait_until(have_ended(lost))


def test_sigterm_writes_a_checkpoint_and_the_run_resumes(long, tmp_path, torchrun):
    process = torchrun(local(3), *OPTIONS, *LONG)
    wait_until(has_steps(tmp_path, 10), process)
    process.terminate()
    assert process.wait(SECONDS) != 0
    assert own_lines(tmp_path).count("Traceback") == 1  # torchrun's own
    check_interrupted_run_resumes(tmp_path, long)


def test_the_workers_of_a_killed_torchrun_end_with_a_checkpoint(
    long, tmp_path, torchrun
):
    process = torchrun(local(3), *OPTIONS, *LONG)
    wait_until(has_steps(tmp_path, 10), process)
    pids = list(workers(process).values())
    process.kill()
    wait_until(have_ended(pids))
    check_interrupted_run_resumes(tmp_path, long)


def check_interrupted_run_resumes(folder, long):
    run = only_run(folder)
    results = read_json(run.results)
    assert results["status"] == "interrupted"
    assert results["error"].startswith("stopped by SIGTERM after step")
    train_in(run.path, *OPTIONS[5:], *LONG, "resume.run=auto", "training.processes=2")
    assert fingerprint(run) == long


@pytest.mark.parametrize(
    ("arguments", "code", "printed"),
    [
        ("--help", 0, "training.processes"),
        ("experiment=debug --cfg job", 0, "process_timeout: 1800.0"),
        ("experiment=debug training.lrr=1", 1, "training.lrr=1: unknown key"),
        ("experiment=debug training.accumulate=1", 1, "use training.accumulate=2"),
        ("-m experiment=debug seed=1,2", 1, "torchrun starts the processes of one run"),
    ],
)
def test_what_trains_nothing_ends(arguments, code, printed, tmp_path, torchrun):
    process = torchrun(local(2), *arguments.split())
    assert process.wait(SECONDS) == code, own_lines(tmp_path)
    text = own_lines(tmp_path)
    assert text.count(printed) == 1
    assert text.count("Traceback") == text.count("ChildFailedError") // 2 or code == 0


@pytest.fixture
def machines():
    """Two network namespaces with a cable between them: two machines for sockets."""
    names = [f"ostinato{os.getpid()}{letter}" for letter in "ab"]

    def ip(*arguments):
        done = subprocess.run(["ip", *arguments], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"needs network namespaces: {done.stderr.decode()}")

    try:
        for name in names:
            ip("netns", "add", name)
        first, second = names
        cable = ("type", "veth", "peer", "name", "cable", "netns", second)
        ip("link", "add", "cable", "netns", first, *cable)
        for number, name in enumerate(names, start=1):
            ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield [("ip", "netns", "exec", name) for name in names]
    except FileNotFoundError:
        pytest.skip("needs the command ip")
    finally:
        for name in names:
            with suppress(FileNotFoundError):
                command = ["ip", "netns", "delete", name]
                subprocess.run(command, capture_output=True, check=False)


def test_two_machines_give_the_bits_of_one_process(
    whole, tmp_path, torchrun, machines, monkeypatch
):
    # The host name is the same in both, and gloo would use the loopback interface.
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "cable")
    agents = []
    for number, (prefix, count) in enumerate(zip(machines, (2, 1), strict=True)):
        options = [
            "--nnodes=2",
            f"--nproc-per-node={count}",
            "--rdzv-backend=c10d",
            "--rdzv-endpoint=10.77.0.1:29400",
            f"--local-addr=10.77.0.{number + 1}",
        ]
        options.append(f"--rdzv-conf=is_host={str(number == 0).lower()}")
        agent = torchrun(options, *OPTIONS, prefix=prefix, name=f"agent{number}")
        agents.append(agent)
    codes = [agent.wait(SECONDS) for agent in agents]
    assert codes == [0, 0], own_lines(tmp_path, "agent0")
    run = only_run(tmp_path)
    assert fingerprint(run) == whole
    assert read_json(run.provenance)["processes"]["count"] == 3
