"""SIGTERM and Ctrl-C stop a training after the current step, with a checkpoint.

A second signal stops it at once.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether a signal has requested that the training stops.

    Attributes:
        signal: the number of the signal, or None.
    """

    signal: int | None = None


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Turns the first SIGTERM or SIGINT into a request to stop.

    The previous handlers are restored at the first signal, and at the end.

    Yields:
        The request, which the training reads after each step.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may set handlers
        return

    previous = {
        number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)
    }

    def restore_handlers() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def request_stop(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        restore_handlers()  # a second signal has its usual effect

    try:
        for number in previous:
            signal.signal(number, request_stop)
        yield stop
    finally:
        restore_handlers()


@contextmanager
def on_second_signal(act: Callable[[], None]) -> Iterator[None]:
    """Calls a function at the second SIGTERM or SIGINT, in another thread.

    Python calls its own handlers late if the main thread waits in a library.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    receiver, sender = os.pipe()
    os.set_blocking(sender, False)
    previous = signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(receiver, act), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous)
        os.close(sender)


def _watch(receiver: int, act: Callable[[], None]) -> None:
    """Reads the numbers of signals until the other end of the pipe is closed."""
    count = 0
    while number := os.read(receiver, 1):
        count += number[0] in (signal.SIGTERM, signal.SIGINT)
        if count == 2:
            act()
    os.close(receiver)
