"""Which signals the supervisor was sent, none lost, from its first instruction to its last.

Loading the event loop takes longer than a caller may wait with its first signal, and a handler that
is missing for a moment means the default action: the end, without a word to any job. So a handler
is installed before the loop is imported, and stays: it notes each signal, and hands it to the loop
while there is one. trio's own receiver takes two of a kind that come quickly for one; here each
counts, because a second SIGTERM means something else than the first.

The loop is imported here only when it is needed.
"""

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import FrameType

TAKEN = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,  # supervisord's for what USR1 means here; its default would end every job
    signal.SIGQUIT,
)

_noted: list[int] = []  # while there is no loop
_deliver: Callable[[int], object] = _noted.append


def record_early_signals() -> None:
    """Note signals from now on, also those that the caller ignores or blocks."""
    for number in TAKEN:
        signal.signal(number, _take)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TAKEN)


@asynccontextmanager
async def open_signals() -> AsyncIterator[AsyncIterator[int]]:
    """Open an iterator of the numbers of all signals, those noted earlier first.

    What comes after the block is noted again.
    """
    import trio

    global _deliver  # noqa: PLW0603 - a process has one handler, and so it has one place to deliver
    token = trio.lowlevel.current_trio_token()
    send, receive = trio.open_memory_channel[int](float("inf"))

    def deliver(number: int) -> None:
        token.run_sync_soon(hand_over, number)

    def hand_over(number: int) -> None:
        try:
            send.send_nowait(number)
        except trio.ClosedResourceError:  # it came in the last moment of the block
            _deliver(number)

    _deliver = deliver
    record_early_signals()
    with send, receive:
        # Before those that come from now on, which the loop hands over at its next turn.
        while _noted:
            send.send_nowait(_noted.pop(0))
        try:
            yield receive
        finally:
            _deliver = _noted.append


def _take(number: int, _frame: FrameType | None) -> None:
    _deliver(number)
