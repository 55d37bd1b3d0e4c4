"""How a process ends with its parent, and how it ended."""

import multiprocessing
import os
import signal
import threading


def follow_parent() -> None:
    """Leaves Ctrl-C to the parent, and kills this process when the parent ends."""
    os.setpgrp()
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)


def how_ended(exit_code: int) -> str:
    """How a process ended, in words.

    Args:
        exit_code: of the process; a signal's negative number if it was killed.
    """
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    reason = f"killed by {signal.Signals(-exit_code).name}"
    if exit_code == -signal.SIGKILL:
        reason += "; memory may have run out"
    return reason
