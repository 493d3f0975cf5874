"""What a command has in the place of the caller's terminal, in a process that stands for mocker."""

import os
import select
import signal
import stat
import termios
import tty
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from mocker.supervisor.terminal_pipes import TerminalPipes
from tests.end_to_end.pty_driver import lead_new_terminal, read_shown
from tests.in_namespaces import run_in_child

SIGNALS: set[int] = {signal.SIGTERM, signal.SIGINT}


def with_pipes(act: Callable[[TerminalPipes, int], object]) -> object:
    """Return what comes of acting where all three descriptors are a terminal.

    Args:
        act: Is given the pipes, and the emulator's side of the terminal.
    """

    def run() -> object:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS | {signal.SIGCHLD})
        master = lead_new_terminal()
        os.dup2(1, 2)
        return act(TerminalPipes((0, 1, 2), (0, 1, 2)), master)

    return run_in_child(run)


def is_readable(fd: int, timeout: float) -> bool:
    return bool(select.select([fd], [], [], timeout)[0])


def hand_out(pipes: TerminalPipes) -> list[int]:
    """Return what the command has once it is started, which has ends of its own."""
    stdio = list(map(os.dup, pipes.stdio))
    pipes.start()
    return stdio


def test_pipes_are_in_the_place_of_terminals() -> None:
    def act(pipes: TerminalPipes, _: int) -> list[bool]:
        return [stat.S_ISFIFO(os.fstat(fd).st_mode) for fd in pipes.stdio]

    assert with_pipes(act) == [True, True, True]


def test_only_those_that_are_lent_have_one() -> None:
    def run() -> bool:
        read_end, write_end = os.pipe()
        pipes = TerminalPipes((read_end, write_end, write_end), [2])
        return pipes.stdio[:2] == [read_end, write_end] and pipes.stdio[2] > write_end

    assert run_in_child(run)


def test_all_that_was_printed_is_shown_by_the_end_though_others_have_the_pipe() -> None:
    text = b"printed " * 1000

    def act(pipes: TerminalPipes, master: int) -> bool:
        _, stdout, stderr = hand_out(pipes)
        os.write(stdout, text)
        os.close(stdout)
        os.write(stderr, b"problem")  # and it is kept open
        reader = os.fork()
        if reader == 0:
            # The terminal takes no more at once than somebody looks at.
            shown = b""
            while len(shown) < len(text) + 7:
                shown += os.read(master, 2**16)
            os._exit(shown.count(b"printed ") == 1000 and b"problem" in shown)
        pipes.finish(SIGNALS, SIGNALS.__contains__)
        return os.waitstatus_to_exitcode(os.waitpid(reader, 0)[1]) == 1

    assert with_pipes(act) is True


def test_signal_ends_the_wait_for_a_terminal_that_shows_nothing() -> None:
    def act(pipes: TerminalPipes, _: int) -> bool:
        _, stdout, _ = hand_out(pipes)
        os.set_blocking(stdout, False)
        for _ in range(20):
            try:
                os.write(stdout, bytes(2**16))
            except BlockingIOError:
                break
        os.kill(os.getpid(), signal.SIGTERM)
        pipes.finish(SIGNALS, SIGNALS.__contains__)
        return True

    assert with_pipes(act) is True


def test_what_is_typed_arrives_up_to_its_end() -> None:
    def act(pipes: TerminalPipes, master: int) -> list[bytes]:
        stdin = hand_out(pipes)[0]
        os.write(master, b"one\n")
        first = os.read(stdin, 100)
        os.write(master, b"\x04")
        return [first, os.read(stdin, 100)]

    assert with_pipes(act) == [b"one\n", b""]


def test_nothing_is_taken_once_nobody_can_read_it() -> None:
    def run() -> bytes:
        master = lead_new_terminal()
        before = count_pipes()
        pipes = TerminalPipes((0, 1, 1), (0, 1, 2))
        pipes.start()  # closes the last of the ends that a command could have
        while count_pipes() > before:  # the threads close theirs
            os.sched_yield()
        os.write(master, b"for the shell\n")
        return os.read(0, 100)

    assert run_in_child(run) == b"for the shell\n"


def count_pipes() -> int:
    found = 0
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # a thread has closed it meanwhile
            found += str(path.readlink()).startswith("pipe:")
    return found


@pytest.mark.parametrize("flags", [termios.ICANON, termios.ECHO], ids=["pager", "password"])
def test_who_changes_the_terminal_has_what_is_typed(flags: int) -> None:
    def act(pipes: TerminalPipes, master: int) -> tuple[bytes, bool, bytes]:
        stdin = hand_out(pipes)[0]
        os.write(master, b"first\n")
        os.read(stdin, 100)  # it is under way
        found = termios.tcgetattr(0)
        changed = termios.tcgetattr(0)
        changed[tty.LFLAG] &= ~flags
        termios.tcsetattr(0, termios.TCSANOW, changed)
        os.write(master, b"key\n")
        has_arrived = is_readable(stdin, 0.3)
        key = os.read(0, 100)
        termios.tcsetattr(0, termios.TCSANOW, found)
        os.write(master, b"line\n")
        return key, has_arrived, os.read(stdin, 100)

    assert with_pipes(act) == (b"key\n", False, b"line\n")


def test_terminal_that_does_not_echo_from_the_beginning_is_read() -> None:
    def run() -> bytes:
        master = lead_new_terminal()
        changed = termios.tcgetattr(0)
        changed[tty.LFLAG] &= ~termios.ECHO
        termios.tcsetattr(0, termios.TCSANOW, changed)
        pipes = TerminalPipes((0, 1, 1), (0, 1, 2))
        stdin = hand_out(pipes)[0]
        os.write(master, b"line\n")
        return os.read(stdin, 100)

    assert run_in_child(run) == b"line\n"


def test_background_gets_nothing_of_what_is_typed() -> None:
    def act(pipes: TerminalPipes, master: int) -> tuple[bool, bytes]:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU, signal.SIGTTIN})
        other = os.fork()
        if other == 0:
            os.setpgid(0, 0)
            signal.pause()
        os.setpgid(other, other)
        os.tcsetpgrp(0, other)
        stdin = hand_out(pipes)[0]
        os.write(master, b"line\n")
        has_arrived = is_readable(stdin, 0.3)
        os.tcsetpgrp(0, os.getpgrp())
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)
        return has_arrived, os.read(stdin, 100)

    assert with_pipes(act) == (False, b"line\n")


def test_command_finds_that_its_terminal_has_hung_up() -> None:
    def act(pipes: TerminalPipes, master: int) -> bytes:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        stdin, stdout, _ = hand_out(pipes)
        os.close(master)
        end = os.read(stdin, 100)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        try:
            while True:
                os.write(stdout, b"for nobody")
        except BrokenPipeError:
            return end

    assert with_pipes(act) == b""


def test_what_is_printed_needs_no_reader_of_what_was_shown_before() -> None:
    def act(pipes: TerminalPipes, master: int) -> str:
        stdout = hand_out(pipes)[1]
        os.write(stdout, b"shown")
        pipes.finish(SIGNALS, SIGNALS.__contains__)
        return read_shown(master)

    assert with_pipes(act) == "shown"
