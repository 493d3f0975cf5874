"""A container on the caller's terminal: a terminal of its own inside, and a relay between the two.

The command's terminal is a pseudoterminal of the container's devpts; job control happens in there.
The caller's terminal is raw meanwhile and only carries bytes, so Ctrl-C reaches the foreground job
inside and nobody else. If the command itself stops (Ctrl-Z), the init says so, and mocker stops as
well, so that the outer shell gets its terminal back.

The container is started before trio is imported, and works while the event loop is loaded. Signals
are blocked from before the one until the other is ready for them.
"""

import os
import signal
from collections.abc import Callable, Iterable

from mocker.isolation import Container, ContainerSpec, spawn

from .foreground import TIMED_OUT, Watch, forwarded_signals, suspend
from .terminal import Terminal

_CHUNK = 2**16  # bytes
_IDLE_S = 0.1  # between two looks at a terminal that nobody inside has open


def run_on_terminal(spec: ContainerSpec, timeout: float | None, tell: Callable[[str], None]) -> int:
    """Run a container on the caller's terminal, and return the exit status.

    Raises:
        IsolationError: It could not be made.
    """
    # These two keep their action: in the background this process stops, as any other would.
    signals = forwarded_signals() - {signal.SIGTTIN, signal.SIGTTOU}
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with spawn(spec) as container:
        watch = Watch(container, timeout)
        for note in container.notes:
            tell(note)
        import trio

        with Terminal() as terminal:
            terminal.set_raw()
            trio.run(_attend, container, terminal, watch, signals)
        status = container.wait()
    return TIMED_OUT if watch.timed_out else status.shell_code


async def _attend(
    container: Container, terminal: Terminal, watch: Watch, signals: Iterable[int]
) -> None:
    """Do all there is to do until the container is gone and its last output is shown."""
    import trio

    os.set_blocking(container.terminal_fd, False)
    terminal.copy_size(container.terminal_fd)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_forward_signals, container, terminal, watch, signals)
        nursery.start_soon(_follow_stops, container, terminal)
        nursery.start_soon(_keep_time, watch)
        nursery.start_soon(_copy, terminal.fd, container.terminal_fd)
        await _copy_until_gone(container, terminal.fd)
        nursery.cancel_scope.cancel()


async def _copy_until_gone(container: Container, target: int) -> None:
    """Show what the container prints; a terminal that is closed inside may be opened again."""
    import trio

    while True:
        gone = container.poll() is not None
        await _copy(container.terminal_fd, target)
        if gone:
            return
        with trio.move_on_after(_IDLE_S):
            await trio.lowlevel.wait_readable(container.fileno())


async def _copy(source: int, target: int) -> None:
    """Copy bytes until the source ends: end of file, or EIO from a terminal without a user."""
    import trio

    while True:
        try:
            data = os.read(source, _CHUNK)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(source)
            continue
        except OSError:
            return
        if not data:
            return
        while data:
            try:
                data = data[os.write(target, data) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(target)
            except OSError:
                return
        await trio.lowlevel.checkpoint()


async def _forward_signals(
    container: Container, terminal: Terminal, watch: Watch, signals: Iterable[int]
) -> None:
    import trio

    with trio.open_signal_receiver(*signals) as receiver:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        async for number in receiver:
            if number == signal.SIGWINCH:
                terminal.copy_size(container.terminal_fd)
                continue
            if number == signal.SIGCONT:
                terminal.set_raw()
                terminal.copy_size(container.terminal_fd)
            watch.forward(number)


async def _follow_stops(container: Container, terminal: Terminal) -> None:
    """Stop when the command stops; SIGCONT, when it comes, makes both go on."""
    import trio

    while True:
        await trio.lowlevel.wait_readable(container.control_fd)
        if container.take_stop():
            terminal.restore()
            suspend(0)
        elif container.poll() is not None:
            return


async def _keep_time(watch: Watch) -> None:
    import trio

    while (remaining := watch.remaining()) is not None:
        await trio.sleep(remaining)
        watch.keep_time()
