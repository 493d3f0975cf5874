"""What is executed is waited for by signals, as commands in the foreground do, see `foreground`.

Source: fcntl(2) F_SETSIG.
"""

import fcntl
import os
import signal

from mocker.isolation import ExitStatus

from ..ending_signals import ENDING_SIGNALS
from ..foreground import Watch
from .executed import Executed


def announce(executed: Executed) -> None:
    """Let the kernel tell of news by SIGCHLD, as it does of children."""
    fd = executed.control_fd
    fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGCHLD)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)


def wait_started(executed: Executed, watch: Watch, signals: set[int]) -> bool:
    """Wait until it is started; return False if it never will be, or has ended already.

    Args:
        executed: What was asked for, and is announced.
        watch: What has been asked of it so far.
        signals: Those to hand on, of which the second that asks it to end gives it up. They are
            blocked, and SIGCHLD is too.
    """
    while executed.poll() is None and not executed.is_started:
        number = signal.sigwaitinfo(signals | {signal.SIGCHLD}).si_signo
        asked_before, asks_to_end = watch.asked_to_end, watch.asks_to_end(number)
        if asked_before and asks_to_end:
            executed.leave(ExitStatus(signal=number))
        elif asks_to_end or number not in {signal.SIGCHLD, *ENDING_SIGNALS}:
            executed.send_signal(number)  # there it waits for the start
    return executed.poll() is None
