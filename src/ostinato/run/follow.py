"""Processes 1, 2, ... of a training: the same data and model as process 0, no files."""

import itertools
import json
import logging
import math
import signal
import socket
import sys
import traceback
import warnings

from pydantic import TypeAdapter
from rich.progress import Progress

from ostinato import torchrun
from ostinato.config import RunConfig
from ostinato.errors import ProcessLost, UserError
from ostinato.interruption import stop_on_signals
from ostinato.record.digests import digest_weights
from ostinato.run.identity import provenance_of
from ostinato.run.meeting import SECONDS_TO_MEET, meet_process_0, remember_folder
from ostinato.torchrun import Place
from ostinato.training.distributed import Team
from ostinato.training.optimization import Optimization
from ostinato.training.prepare import prepare
from ostinato.training.roles import Follower, SharedScoring
from ostinato.training.stores import join_store, store_of_run, torchrun_store


def follow_locally(port: int, rank: int, size: int) -> None:
    """Follows a process of this machine until the training ends; exits the process.

    Args:
        port: of the store that process 0 serves.
        rank: number of this process.
        size: number of processes.
    """
    _follow(Team(join_store(port), Place(rank, size, rank, size)))


def follow_torchrun(place: Place) -> None:
    """Follows process 0 of torchrun until the training ends; exits the process."""
    torchrun.stop_with_torchrun()
    try:
        store = meet_process_0(place)
    except ProcessLost:
        sys.exit(1)
    _follow(Team(store, place))


def follow_tasks(place: Place) -> None:
    """Follows process 0 through all runs of a job; returns when its store ends."""
    store = torchrun_store()
    for number in itertools.count(1):
        team = Team(store_of_run(store, number), place)
        try:
            team.messages.wait_for("config", math.inf)
        except ProcessLost:
            return
        _follow(team)


def _follow(team: Team) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends the process without a message
    # Process 0 logs, and it would log the same.
    logging.disable()
    warnings.simplefilter("ignore")
    try:
        text = team.messages.wait_for("config", SECONDS_TO_MEET)
        if text:  # Otherwise, there is nothing to train.
            folder = team.messages.wait_for("folder", SECONDS_TO_MEET)
            remember_folder(json.loads(folder))
            _train(team, TypeAdapter(RunConfig).validate_python(json.loads(text)))
    except ProcessLost:
        team.messages.report_lost_process(team.rank)
        sys.exit(1)  # process 0 finds out why
    except UserError as error:
        _report(team, str(error), "", error.exit_code)
        sys.exit(error.exit_code)
    except Exception as error:
        line = f"{type(error).__name__}: {error}"
        _report(team, line, traceback.format_exc(), 1)
        sys.exit(1)


def _train(team: Team, config: RunConfig) -> None:
    team.choose_device(config.training.device)
    prepared = prepare(config)
    start = {
        "provenance": provenance_of(config, prepared),
        "host": socket.gethostname(),
        "weights": digest_weights(prepared.model.state_dict()),
    }
    team.messages.publish(f"start/{team.rank}", json.dumps(start))
    scorer = prepared.scorer(
        config.training.eval_batch_size,
        Progress(disable=True),
        SharedScoring(team, None, prepared.model),
    )
    optimization = Optimization(config.training, prepared, team)
    team.form(config.training.process_timeout)
    with stop_on_signals() as stop:
        Follower(team, prepared, optimization, scorer, stop).obey()
    team.close()


def _report(team: Team, line: str, details: str, exit_code: int) -> None:
    failure = {
        "process": team.rank,
        "host": socket.gethostname(),
        "error": line,
        "traceback": details,
        "exit_code": exit_code,
    }
    team.messages.report_failure(failure)
