import fcntl
import os
import signal
import struct
import termios
from collections.abc import Callable
from typing import TypeVar

import pytest

from mocker.supervisor.terminal import Terminal
from tests.end_to_end.pty_driver import lead_new_terminal
from tests.in_namespaces import run_in_child
from tests.leaks import read_descriptors

T = TypeVar("T")


def on_new_terminal(function: Callable[[int], T]) -> T:
    """Return what a function returns that has a terminal; it is given the emulator's side."""
    return run_in_child(lambda: function(lead_new_terminal()))


def is_raw() -> bool:
    flags: int = termios.tcgetattr(0)[3]
    return not flags & (termios.ICANON | termios.ECHO | termios.ISIG)


def go_to_background() -> None:
    """Put the calling session leader in the background of its terminal, as a shell would."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
    os.setpgid(pid, pid)
    os.tcsetpgrp(0, pid)
    # The terminal stays with a group in which nobody is left.
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_terminal_is_raw_while_taken_and_as_found_afterwards() -> None:
    def take_and_give_back(master: int) -> list[bool]:
        found = termios.tcgetattr(0)
        with Terminal() as terminal:
            facts = [terminal.take(), is_raw()]
            terminal.give_back()
            return [*facts, termios.tcgetattr(0) == found]

    assert on_new_terminal(take_and_give_back) == [True, True, True]


def test_terminal_is_as_found_after_an_exception() -> None:
    def fail(master: int) -> bool:
        found = termios.tcgetattr(0)
        with pytest.raises(ZeroDivisionError):
            take_and_fail()
        return termios.tcgetattr(0) == found

    def take_and_fail() -> None:
        with Terminal() as terminal:
            terminal.take()
            raise ZeroDivisionError

    assert on_new_terminal(fail)


def test_taking_it_twice_does_not_forget_how_it_was_found() -> None:
    def take_twice(master: int) -> bool:
        found = termios.tcgetattr(0)
        with Terminal() as terminal:
            terminal.take()
            terminal.take()
        return termios.tcgetattr(0) == found

    assert on_new_terminal(take_twice)


def test_settings_changed_after_it_was_given_back_are_kept() -> None:
    def change_between(master: int) -> bool:
        with Terminal() as terminal:
            terminal.take()
            terminal.give_back()
            settings = termios.tcgetattr(0)
            settings[6][termios.VINTR] = b"\x18"
            termios.tcsetattr(0, termios.TCSANOW, settings)
            terminal.take()
        return termios.tcgetattr(0) == settings

    assert on_new_terminal(change_between)


def test_what_was_typed_before_is_not_lost() -> None:
    def type_and_take(master: int) -> bytes:
        os.write(master, b"typed")
        with Terminal() as terminal:
            terminal.take()
            return os.read(terminal.fd, 100)

    assert on_new_terminal(type_and_take) == b"typed"


def test_terminal_is_left_alone_from_the_background() -> None:
    def try_from_background(master: int) -> list[bool]:
        found = termios.tcgetattr(0)
        go_to_background()
        with Terminal() as terminal:
            return [terminal.in_foreground(), terminal.take(), termios.tcgetattr(0) == found]

    assert on_new_terminal(try_from_background) == [False, False, True]


def test_terminal_that_somebody_else_has_by_now_is_left_alone() -> None:
    def fork_one_that_loses_it(master: int) -> tuple[int, bool]:
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
            os.tcsetpgrp(0, os.getpgrp())
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTTOU})
            with Terminal() as terminal:
                terminal.take()
                os.tcsetpgrp(0, os.getppid())
            os._exit(0)
        result = os.waitid(os.P_PID, pid, os.WEXITED | os.WSTOPPED)
        assert result is not None
        return result.si_code, is_raw()

    assert on_new_terminal(fork_one_that_loses_it) == (os.CLD_EXITED, True)


def test_terminal_of_another_session_is_in_the_foreground() -> None:
    def ask_without_controlling_it() -> list[bool]:
        os.setsid()
        _, slave = os.openpty()
        os.dup2(slave, 0)
        with Terminal() as terminal:
            return [terminal.in_foreground(), terminal.take(), is_raw()]

    assert run_in_child(ask_without_controlling_it) == [True, True, True]


def test_reading_from_it_does_not_block_and_from_stdin_does() -> None:
    def ask(master: int) -> list[bool]:
        with Terminal() as terminal:
            return [os.get_blocking(terminal.fd), os.get_blocking(0)]

    assert on_new_terminal(ask) == [False, True]


def test_another_terminal_gets_its_size() -> None:
    size = struct.pack("=4H", 33, 77, 330, 770)

    def copy(master: int) -> bytes:
        fcntl.ioctl(master, termios.TIOCSWINSZ, size)
        _, other = os.openpty()
        with Terminal() as terminal:
            terminal.copy_size(other)
        return fcntl.ioctl(other, termios.TIOCGWINSZ, bytes(8))

    assert on_new_terminal(copy) == size


def test_terminal_that_hung_up_is_no_error() -> None:
    def hang_up(master: int) -> bytes:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        _, other = os.openpty()
        with Terminal() as terminal:
            terminal.take()
            os.close(master)
            terminal.copy_size(other)
            terminal.give_back()
            terminal.take()
            return os.read(terminal.fd, 100)

    assert on_new_terminal(hang_up) == b""


def test_descriptor_is_closed_in_the_end() -> None:
    def open_and_close(master: int) -> bool:
        before = read_descriptors()
        with Terminal():
            pass
        return read_descriptors() == before

    assert on_new_terminal(open_and_close)
