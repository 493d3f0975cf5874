"""A container whose output goes to sinks, in the foreground.

The container is started before what carries its output is imported, which takes longer, and works
meanwhile; its pipes hold what it prints. The event loop for that has a thread of its own, so that
signals, time and the exit status are the business of the very code that is there without sinks.
"""

import _signal as signal
import _socket as socket
import gc
import os
from _collections_abc import Callable, Sequence
from errno import EAGAIN

from mocker.isolation import Container, SetupError, spawn

from .foreground import (
    TIMED_OUT,
    Watch,
    attend,
    block_signals,
    let_go_of,
    replace_terminals,
    tell_oom_kill,
)
from .log_opening import check_log
from .run_options import RunRequest
from .sink_words import SinkWord


def run_logged(request: RunRequest, tell: Callable[[str], None]) -> int:
    """Run a container with its output on the way to sinks, and return the exit status.

    It returns when everything is written, or what takes nothing any more is given up.

    Args:
        request: With one sink or more; none is "null" or "inherit".
        tell: Is called with what is not quite as it was asked for.

    Raises:
        IsolationError: It could not be made, or a sink is none.
    """
    _check_sinks(request.sinks)
    signals = block_signals()
    pipes = {channel: os.pipe() for channel in _choose_channels(request.sinks)}
    write_ends = [write_end for _, write_end in pipes.values()]
    terminal = replace_terminals((0, write_ends[0], write_ends[-1]))
    stdin = 0 if terminal is None else terminal.stdio[0]
    with spawn(request.spec, stdin=stdin, stdout=write_ends[0], stderr=write_ends[-1]) as container:
        if terminal is not None:
            terminal.start()
        for write_end in write_ends:
            os.close(write_end)
        for note in container.notes:
            tell(note)
        let_go_of(0)
        watch = Watch(container, request.timeout)
        relay = _Relay(request, container, {name: pipe[0] for name, pipe in pipes.items()})
        status = attend(container, watch, signals)
        relay.wait_end(signals, watch)
        tell_oom_kill(container, tell)
    return TIMED_OUT if watch.timed_out else status.shell_code


class _Relay:
    """The thread that carries what a container prints to its sinks."""

    def __init__(
        self, request: RunRequest, container: Container, read_ends: dict[str, int]
    ) -> None:
        """Start it.

        Raises:
            SetupError: There is no thread to be had.
        """
        import threading

        self._container = container
        self._give_up = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._error: BaseException | None = None
        self._is_over = False
        thread = threading.Thread(target=self._run, args=(request, read_ends), daemon=True)
        try:
            thread.start()
        except RuntimeError:  # too many processes
            raise SetupError("start a thread for its output", EAGAIN) from None

    def wait_end(self, signals: set[int], watch: Watch) -> None:
        """Wait until everything is written, or a signal asks not to, once the container is gone.

        Args:
            signals: Those that are blocked.
            watch: What has been asked of the container.
        """
        while not self._is_over:
            if watch.asks_to_end(signal.sigwaitinfo(signals | {signal.SIGCHLD}).si_signo):
                os.eventfd_write(self._give_up, 1)
        os.close(self._give_up)
        if self._error is not None:
            raise self._error

    def _run(self, request: RunRequest, read_ends: dict[str, int]) -> None:
        try:
            from .logged_relay import relay_to_sinks

            gc.enable()
            relay_to_sinks(request, self._container, read_ends, self._give_up)
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody sees it
            self._error = error
            self._container.kill()  # or it would wait for ever on its pipes
        finally:
            self._is_over = True
            os.kill(os.getpid(), signal.SIGCHLD)  # who waits for the end waits for signals


def _check_sinks(sinks: Sequence[SinkWord]) -> None:
    """Refuse a sink that cannot be opened, and will not be as it waits.

    Raises:
        SetupError: There is one.
    """
    for sink in sinks:
        try:
            if sink.kind == "journald":
                _try_to_connect(sink.path)
            elif sink.kind == "file":
                check_log(sink.path)
        except OSError as error:
            raise SetupError("write to ", error.errno or 0, sink.path) from None


def _try_to_connect(path: str) -> None:
    journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        journal.connect(path)
    finally:
        journal.close()


def _choose_channels(sinks: Sequence[SinkWord]) -> tuple[str, ...]:
    """Return the channels that are told apart: none, where nobody could see which was which.

    Then both have one pipe, and what is printed to one after the other stays in that order.
    """
    if all(sink.kind == "file" and sink.format == "raw" for sink in sinks):
        return ("output",)
    return ("stdout", "stderr")
