import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from mocker.isolation import Container, spawn
from mocker.supervisor.foreground import Watch
from mocker.supervisor.terminal import Terminal
from mocker.supervisor.terminal_relay import run_relay
from tests.containers import in_container, script
from tests.end_to_end.pty_driver import lead_new_terminal, read_shown
from tests.in_namespaces import run_in_child

SIGNALS = {signal.SIGTERM, signal.SIGHUP, signal.SIGALRM}


@contextmanager
def open_on_terminal(text: str) -> Iterator[tuple[Container, Terminal]]:
    """Start a shell script in a container with a terminal; signals are blocked."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    with spawn(script(text, terminal=True)) as container, Terminal() as terminal:
        terminal.take()
        yield container, terminal


def relay(container: Container, terminal: Terminal) -> None:
    run_relay(container, terminal, Watch(container, None), SIGNALS)


@in_container
def test_all_output_is_shown_when_the_relay_ends() -> None:
    def run() -> str:
        master = lead_new_terminal()
        with open_on_terminal("seq 500") as (container, terminal):
            relay(container, terminal)
        return read_shown(master)

    assert run_in_child(run) == "".join(f"{number}\r\n" for number in range(1, 501))


@in_container
def test_what_was_typed_before_arrives() -> None:
    def run() -> str:
        master = lead_new_terminal()
        os.write(master, b"early\n")
        with open_on_terminal("stty -echo; read word; echo $word $word") as (container, terminal):
            relay(container, terminal)
        return read_shown(master)

    assert run_in_child(run).endswith("early early\r\n")


@in_container
def test_relay_ends_when_the_terminal_hangs_up_and_the_container_does_not() -> None:
    def run() -> tuple[bytes, bool]:
        master = lead_new_terminal()
        with open_on_terminal("trap '' HUP; echo ready; sleep 1000") as (container, terminal):
            shown = os.read(container.terminal_fd, 100)
            os.close(master)
            relay(container, terminal)
            return shown, container.poll() is None

    assert run_in_child(run) == (b"ready\r\n", True)


@in_container
def test_signals_that_arrive_as_it_ends_do_not_end_the_process() -> None:
    def run() -> set[int]:
        lead_new_terminal()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        with open_on_terminal("trap '' ALRM; sleep 0.1") as (container, terminal):
            relay(container, terminal)
        return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    assert run_in_child(run) >= SIGNALS
