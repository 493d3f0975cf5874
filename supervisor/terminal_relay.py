"""What goes on between the caller's terminal and a container's, until one of them is gone.

Bytes in both directions, the size of the window, signals, and stopping: if the command itself stops
(Ctrl-Z), the init says so, and mocker stops as well, so that the outer shell has its terminal back.
In the background a container goes on and prints, and gets no input until it is brought back.

Apart because it is the one module of `mocker run` that imports trio.
"""

import os
import signal
from collections.abc import Iterable

import trio

from .attended import Attended
from .foreground import Watch, suspend
from .terminal import Terminal

_CHUNK = 2**16  # bytes
_MOST_UNSHOWN = 2**17  # bytes; more does not fit between the two sides of a pseudoterminal
_LAST_WORDS_S = 0.1  # from the end of a command to what it printed, through the terminal
_LOOK_S = 0.1  # between two looks from the background; no signal tells that it is over


def run_relay(
    container: Attended,
    terminal: Terminal,
    watch: Watch,
    signals: Iterable[int],
    *,
    outlives: bool = False,
) -> None:
    """Relay until everything that the container printed is shown, or the terminal hangs up.

    Args:
        container: A new one with a terminal.
        terminal: The caller's.
        watch: What signals and time are for.
        signals: Those to forward; blocked before and afterwards.
        outlives: Whether somebody may have the terminal when the command has ended, for whom
            nobody waits.
    """
    trio.run(_relay, container, terminal, watch, signals, outlives)


async def _relay(
    container: Attended,
    terminal: Terminal,
    watch: Watch,
    signals: Iterable[int],
    outlives: bool,
) -> None:
    os.set_blocking(container.terminal_fd, False)
    output_turn = trio.Lock()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_forward_signals, container, terminal, watch, signals, nursery)
        nursery.start_soon(_follow_command, container, terminal, output_turn, outlives, nursery)
        nursery.start_soon(_keep_time, watch)
        nursery.start_soon(_take_terminal, container, terminal)
        nursery.start_soon(_relay_input, container, terminal, nursery.cancel_scope)
        await _relay_output(container, terminal, output_turn)
        nursery.cancel_scope.cancel()


async def _relay_input(container: Attended, terminal: Terminal, scope: trio.CancelScope) -> None:
    """Hand on what is typed; cancel all when the terminal has hung up."""
    while True:
        await trio.lowlevel.wait_readable(terminal.fd)
        if not terminal.in_foreground():
            await trio.sleep(_LOOK_S)  # it is typed for somebody else
            continue
        try:
            data = terminal.read(_CHUNK)
        except BlockingIOError:
            continue
        except OSError:
            data = b""
        if not data:
            scope.cancel()
            return
        await _write(container.terminal_fd, data)


async def _relay_output(container: Attended, terminal: Terminal, turn: trio.Lock) -> None:
    """Show what the container prints, until nobody is left who could."""
    while True:
        await trio.lowlevel.wait_readable(container.terminal_fd)
        async with turn:
            if not await _show(container, terminal):
                return


async def _show(container: Attended, terminal: Terminal) -> bool:
    """Show what the container has printed by now; return False if it will print no more.

    Its init keeps its terminal open, so that this holds even if nobody else does.
    """
    shown = 0
    while shown < _MOST_UNSHOWN:
        try:
            data = os.read(container.terminal_fd, _CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False  # of a connection to one
        await _write(terminal.fd, data)
        shown += len(data)
    return True


async def _write(target: int, data: bytes) -> None:
    """Write bytes to a terminal; if it has hung up, nobody needs them."""
    while data:
        await trio.lowlevel.wait_writable(target)
        try:
            data = data[os.write(target, data) :]
        except BlockingIOError:
            continue
        except OSError:
            return


async def _forward_signals(
    container: Attended,
    terminal: Terminal,
    watch: Watch,
    signals: Iterable[int],
    nursery: trio.Nursery,
) -> None:
    with trio.open_signal_receiver(*signals) as receiver:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        try:
            async for number in receiver:
                if number == signal.SIGWINCH:
                    terminal.copy_size(container.terminal_fd)
                    continue
                if number == signal.SIGCONT:
                    nursery.start_soon(_take_terminal, container, terminal)
                if container.poll() is None:
                    watch.forward(number)
                elif watch.asks_to_end(number):
                    nursery.cancel_scope.cancel()  # the terminal takes too long to show the rest
        finally:
            # With its default action back, a signal would leave the terminal raw.
            signal.pthread_sigmask(signal.SIG_BLOCK, signals)


async def _take_terminal(container: Attended, terminal: Terminal) -> None:
    """Take the terminal as soon as this process is in the foreground."""
    while True:
        terminal.copy_size(container.terminal_fd)
        if terminal.take():
            return
        await trio.sleep(_LOOK_S)


async def _follow_command(
    container: Attended,
    terminal: Terminal,
    turn: trio.Lock,
    outlives: bool,
    nursery: trio.Nursery,
) -> None:
    """Stop when the command stops, after its last words are shown; see its end."""
    while True:
        await trio.lowlevel.wait_readable(container.control_fd)
        if not container.take_stop():
            break  # it has ended
        async with turn:
            await _show(container, terminal)
            terminal.give_back()
            suspend(0)
            terminal.copy_size(container.terminal_fd)
            terminal.take()
        # Whoever made this process go on said so to it alone; if the kernel did not let it stop,
        # because no shell could make it go on, nobody did.
        signal.raise_signal(signal.SIGCONT)
    if outlives:
        await trio.sleep(_LAST_WORDS_S)
        async with turn:
            await _show(container, terminal)
        nursery.cancel_scope.cancel()


async def _keep_time(watch: Watch) -> None:
    while (remaining := watch.remaining()) is not None:
        await trio.sleep(remaining)
        watch.keep_time()
