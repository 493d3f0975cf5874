"""Signals that one process hands on to another one that it has started."""

import _signal as signal
import os

_TO_THE_GROUP = {signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGCONT}


def forward(number: int, pid: int) -> None:
    """Send a signal to a child, and to its process group if terminals send this one.

    Args:
        number: Of the signal.
        pid: Of a child that is not reaped yet: it is there, if only as a zombie.
    """
    if number in _TO_THE_GROUP:
        try:
            os.killpg(pid, number)
        except (ProcessLookupError, PermissionError):
            pass  # it went into another group; it is told by itself
        else:
            return
    try:
        os.kill(pid, number)
    except PermissionError:
        pass  # without a container it may have become somebody else
