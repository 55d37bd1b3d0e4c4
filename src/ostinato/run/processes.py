"""The processes of a run: how they start, and what happens if one of them fails."""

import json
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from ostinato import torchrun
from ostinato.config import RunConfig, TrackerConfig
from ostinato.errors import ConfigError, Interrupted, ProcessFailed, ProcessLost
from ostinato.interruption import Stop, on_second_signal
from ostinato.record.drift import environment_drift
from ostinato.record.schema import Provenance
from ostinato.run.followers import Followers, started
from ostinato.run.meeting import meeting, remember_folder
from ostinato.run.process_numbers import own_place
from ostinato.run_dir import RunDir
from ostinato.torchrun import Place
from ostinato.training.distributed import Team
from ostinato.training.resume import resume_command
from ostinato.training.roles import Leader
from ostinato.training.stores import serve_store, store_of_run, torchrun_store

log = logging.getLogger(__name__)

_SECONDS_FOR_REASON = 2.0


@dataclass(frozen=True)
class Processes:
    """The processes of a run, as process 0 sees them.

    Attributes:
        leader: tells the others what to do.
        followers: those that this process started.
        check: raises `ProcessLost` if a process has ended; called while others start.
        timeout: seconds that a process waits for the others.
    """

    leader: Leader
    followers: Followers
    check: Callable[[], None]
    timeout: float

    def connect(self, provenance: Provenance, weights: str) -> dict[str, Any]:
        """Waits until all processes are ready, and connects them.

        Args:
            provenance: what this process computes on and with.
            weights: digest of its weights.

        Returns:
            Facts for the provenance: number of processes, hosts, backend.

        Raises:
            ConfigError: another process would compute something else.
        """
        hosts = [socket.gethostname()]
        team = self.leader.team
        if team is None:
            return {"count": 1, "hosts": hosts, "backend": None}
        for rank in range(1, team.place.size):
            name = f"start/{rank}"
            text = team.messages.wait_for(name, self.timeout, self.check, rank)
            start = json.loads(text)
            _check_same(rank, start, provenance, weights)
            hosts.append(start["host"])
        team.form(self.timeout, self.check)
        return {"count": team.place.size, "hosts": hosts, "backend": team.backend}


@contextmanager
def processes_of(config: RunConfig, run: RunDir, stop: Stop) -> Iterator[Processes]:
    """Starts the other processes, or meets those of torchrun; ends them at the end.

    Args:
        config: the run's config.
        run: the run folder.
        stop: gets the signals that reach other processes.

    Raises:
        ConfigError: there are more processes than micro-batches, cores or GPUs.
        ProcessFailed: another process failed, ended or does not answer.
        Interrupted: the same, after a signal.
    """
    timeout = config.training.process_timeout
    place = own_place(config)
    if torchrun.place() is not None:
        torchrun.stop_with_torchrun()
        remember_folder(str(run.path.absolute()))
    if place.size == 1:
        yield Processes(Leader(None, stop), Followers([]), _do_nothing, timeout)
        return

    with _team(place) as (team, followers, check):
        # Observers run in this process only; their settings can be secrets.
        shared = replace(config, tracker=TrackerConfig())
        text = json.dumps(asdict(shared))  # escapes what is not UTF-8 in paths
        team.messages.publish("folder", json.dumps(str(run.path.absolute())))
        team.messages.publish("config", text)
        team.choose_device(config.training.device)
        leader = Leader(team, stop)
        try:
            yield Processes(leader, followers, check, timeout)
            leader.end()
            followers.end()
        except ProcessLost as error:
            raise _reason(team, followers, run, stop, error) from None


@contextmanager
def _team(
    place: Place,
) -> Iterator[tuple[Team, Followers, Callable[[], None]]]:
    if torchrun.place() is not None:
        if torchrun.are_tasks():
            team, check = Team(store_of_run(torchrun_store()), place), _do_nothing
        else:
            team, check = Team(meeting().store, place), meeting().welcome
        try:
            yield team, Followers([]), check
        finally:
            team.close()
        return
    store = serve_store()
    team = Team(store, place)
    try:
        with started(store.port, place.size) as own, on_second_signal(own.kill):
            yield team, own, own.check
    finally:
        team.close()  # does not wait for processes that have ended


def _do_nothing() -> None:
    pass


def _check_same(
    rank: int, start: dict[str, Any], provenance: Provenance, weights: str
) -> None:
    """Checks that another process starts from the same data, code and weights."""
    drift = environment_drift(provenance, start["provenance"])
    differences = [str(difference) for difference in drift]
    if start["weights"] != weights:
        differences.append("the initial weights differ")
    if differences:
        where = f"process {rank} ({start['host']}) differs from process 0"
        raise ConfigError([f"{where}: {difference}" for difference in differences])


def _reason(
    team: Team, followers: Followers, run: RunDir, stop: Stop, lost: ProcessLost
) -> ProcessFailed | Interrupted:
    """Why another process does not answer, in one line with the remedy."""
    hint = f"resume with: {resume_command(run)}"
    killed = followers.killed()
    if lost.rank is None:
        team.close()  # so that the others do not wait, except for one that hangs
    failure, silent = team.messages.why_lost(team.size, _SECONDS_FOR_REASON)
    if failure is not None:
        if failure["traceback"]:
            log.error("%s", failure["traceback"].rstrip())
        who = f"process {failure['process']} ({failure['host']})"
        message = f"{who}: {failure['error']}; {hint}"
        return ProcessFailed(message, failure["exit_code"])
    if lost.rank is not None:
        silent = [lost.rank]
    what = killed or followers.killed() or _silence(team, silent, lost)
    if stop.signal is not None:
        name = signal.Signals(stop.signal).name
        return Interrupted(f"stopped by {name}; {what}; {hint}", stop.signal)
    return ProcessFailed(f"{what}; {hint}", 1)


def _silence(team: Team, silent: list[int], lost: ProcessLost) -> str:
    """Which processes do not answer."""
    if not silent:
        return f"another process does not answer ({lost})"
    names = []
    for rank in silent:
        start = None
        with suppress(ProcessLost):  # the store can be lost, too
            start = team.messages.read(f"start/{rank}")
        host = f" ({json.loads(start)['host']})" if start else ""
        names.append(f"process {rank}{host}")
    verb = "does" if len(names) == 1 else "do"
    return f"{', '.join(names)} {verb} not answer ({lost})"
