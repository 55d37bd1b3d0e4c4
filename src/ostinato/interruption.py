"""SIGTERM and Ctrl-C end a training at the next step boundary, with a checkpoint; a second one ends it at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether somebody asked the training to stop.

    Attributes:
        signal: the signal that asked, or None.
    """

    signal: int | None = None


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Turns the first SIGTERM or SIGINT into a request; the handlers from before come back at the end."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may set handlers
        return
    before = {
        number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)
    }

    def ask(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        for each, handler in before.items():
            signal.signal(each, handler)  # a second signal does what it always did

    try:
        for number in before:
            signal.signal(number, ask)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
