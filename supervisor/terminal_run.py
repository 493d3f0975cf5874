"""A container on the caller's terminal, with a terminal of its own inside.

The command's terminal is a pseudoterminal of the container's devpts; job control happens in there.
The caller's terminal is raw meanwhile and only carries bytes, so Ctrl-C reaches the foreground job
inside and nobody else.

The container is started before trio is imported, and works while the event loop is loaded. Signals
are blocked from before the one until the other is ready for them.
"""

import gc
import os
import signal
from collections.abc import Callable

from mocker.isolation import ContainerSpec, spawn

from .foreground import (
    TIMED_OUT,
    Watch,
    attend,
    block_signals,
    replace_terminals,
    tell_oom_kill,
)
from .terminal import Terminal


def run_on_terminal(spec: ContainerSpec, timeout: float | None, tell: Callable[[str], None]) -> int:
    """Run a container on the caller's terminal, and return the exit status.

    Raises:
        IsolationError: It could not be made.
    """
    # These two keep their action: what the shell does not want from its background is the kernel's.
    signals = block_signals({signal.SIGTTIN, signal.SIGTTOU})
    pipes = replace_terminals((0, 1, 2), terminal=True)
    with spawn(spec, stderr=2 if pipes is None else pipes.stdio[2]) as container:
        if pipes is not None:
            pipes.start()
        watch = Watch(container, timeout)
        for note in container.notes:
            tell(note)
        with Terminal() as terminal:
            terminal.take()
            from .terminal_relay import run_relay

            gc.enable()
            run_relay(container, terminal, watch, signals)
        # If the caller's terminal has hung up, the command's now does too.
        os.close(container.terminal_fd)
        container.terminal_fd = -1
        status = attend(container, watch, signals)
        if pipes is not None:
            pipes.finish(signals, watch.asks_to_end)
        tell_oom_kill(container, tell)
    return TIMED_OUT if watch.timed_out else status.shell_code
