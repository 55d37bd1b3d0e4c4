"""How the processes that torchrun started meet.

torchrun restarts its processes after a failure, also with another number of them and
with the store of the earlier ones. So each process has a new id, and process 0 gives
the processes that it meets a part of the store of their own.
"""

import functools
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ostinato import torchrun
from ostinato.errors import ProcessFailed, ProcessLost
from ostinato.storage.atomic import write_text
from ostinato.torchrun import Place
from ostinato.training.messages import Messages
from ostinato.training.stores import Store, part_of_store, torchrun_store

SECONDS_TO_MEET = 600.0
"""Processes are imported at different speeds, and some start on other machines."""

_POLL_SECONDS = 0.05


class Meeting:
    """The processes of torchrun, as process 0 meets them.

    Args:
        place: of process 0.

    Attributes:
        store: for these processes.
        folder: the run folder that one of them knows from before a restart, or None.
    """

    def __init__(self, place: Place) -> None:
        self._all = torchrun_store()
        self._size = place.size
        self._met: dict[int, str] = {}
        self._name = _new_id()
        self.store = part_of_store(self._all, self._name)
        self.folder = _read_note()
        end = time.monotonic() + SECONDS_TO_MEET
        while len(self._met) < place.size - 1:
            self.welcome()
            if time.monotonic() > end:
                missing = set(range(1, place.size)) - set(self._met)
                raise ProcessLost(f"no answer for {SECONDS_TO_MEET:g} s", min(missing))
            time.sleep(_POLL_SECONDS)

    def welcome(self) -> None:
        """Welcomes processes that are new.

        A process can have left its message and ended before the restart. The one in its
        place comes later.
        """
        messages = Messages(self._all)
        for rank in range(1, self._size):
            text = messages.read(_hello(rank))
            if text is None or text == self._met.get(rank):
                continue
            self._met[rank] = text
            hello = json.loads(text)
            self.folder = self.folder or hello["folder"]
            messages.publish(f"welcome/{hello['id']}", self._name)


@functools.cache
def meeting() -> Meeting:
    """Process 0 meets the others, once."""
    place = torchrun.place()
    assert place is not None and place.rank == 0
    return Meeting(place)


def meet_process_0(place: Place) -> Store:
    """The store for the processes that process 0 meets.

    Raises:
        ProcessLost: process 0 does not answer.
    """
    store = torchrun_store()
    messages = Messages(store)
    own = _new_id()
    hello = json.dumps({"id": own, "folder": _read_note()})
    messages.publish(_hello(place.rank), hello)
    return part_of_store(store, messages.wait_for(f"welcome/{own}", SECONDS_TO_MEET))


@contextmanager
def followers_end() -> Iterator[None]:
    """Lets the processes of torchrun end if process 0 trains nothing.

    Raises:
        ProcessFailed: they did not meet.
    """
    try:
        yield
    except ProcessLost as error:
        message = f"process {error.rank} of torchrun does not answer ({error})"
        raise ProcessFailed(message, 1) from None
    except BaseException:
        _release()
        raise
    _release()


def _release() -> None:
    place = torchrun.place()
    if place is not None and place.rank == 0 and place.size > 1:
        with suppress(ProcessLost):
            Messages(meeting().store).publish_once("config", "")


def remember_folder(folder: str) -> None:
    """Notes the run folder for a restart, where torchrun keeps its own notes."""
    note = _note()
    if note is not None:
        write_text(note, folder)


def _read_note() -> str | None:
    note = _note()
    if note is None or not note.is_file():
        return None
    return note.read_text(encoding="utf-8")


def _note() -> Path | None:
    """A file that lasts as long as torchrun on this machine."""
    error_file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not error_file:
        return None
    # <folder of this torchrun>/attempt_0/<local rank>/error.json
    return Path(error_file).parents[2] / "ostinato_run_folder"


def _hello(rank: int) -> str:
    return f"hello/{rank}"


def _new_id() -> str:
    return uuid.uuid4().hex
