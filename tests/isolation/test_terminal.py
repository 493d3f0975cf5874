import fcntl
import os
import signal
import socket
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mocker.isolation.steps import Setup
from mocker.isolation.syscalls import mount
from mocker.isolation.terminal import (
    copy_size,
    find_terminal,
    make_controlling_terminal,
    open_terminal,
    take_foreground,
)
from tests.containers import in_container, run_captured, script
from tests.end_to_end.pty_driver import lead_new_terminal
from tests.in_namespaces import InNewNamespaces, run_in_child
from tests.requirements import requires_user_namespaces

ROOT = Path("/mnt")  # of the private mount namespace


def open_in_new_devpts() -> Setup:
    """Open a terminal below a root that has a devpts of its own."""
    mount("none", str(ROOT), "tmpfs")
    setup = Setup(None, [], socket.socket())
    setup.root_fd = os.open(ROOT, os.O_PATH)
    (ROOT / "dev/pts").mkdir(parents=True)
    mount("none", str(ROOT / "dev/pts"), "devpts", 0, "newinstance,ptmxmode=0666")
    open_terminal(setup)
    return setup


@contextmanager
def open_pair() -> Iterator[tuple[int, int]]:
    """Open both sides of a terminal of the host's."""
    master, slave = os.openpty()
    try:
        yield master, slave
    finally:
        os.close(master)
        os.close(slave)


@requires_user_namespaces
def test_terminal_is_the_first_of_the_devpts_in_the_root(
    in_new_namespaces: InNewNamespaces,
) -> None:
    def open_and_look() -> tuple[str, list[str]]:
        setup = open_in_new_devpts()
        path = Path(f"/proc/self/fd/{setup.slave_fd}").readlink()
        return str(path), sorted(entry.name for entry in (ROOT / "dev/pts").iterdir())

    path, entries = in_new_namespaces(open_and_look)

    assert (path, entries) == ("/mnt/dev/pts/0", ["0", "ptmx"])


@requires_user_namespaces
def test_both_sides_are_of_one_terminal(in_new_namespaces: InNewNamespaces) -> None:
    def open_and_write() -> tuple[bytes, bytes]:
        setup = open_in_new_devpts()
        os.write(setup.slave_fd, b"shown")
        shown = os.read(setup.master_fd, 100)
        os.write(setup.master_fd, b"typed\n")
        return shown, os.read(setup.slave_fd, 100)

    assert in_new_namespaces(open_and_write) == (b"shown", b"typed\n")


@requires_user_namespaces
def test_opening_it_gives_nobody_a_controlling_terminal(
    in_new_namespaces: InNewNamespaces,
) -> None:
    def lead_and_open() -> int:
        os.setsid()
        open_in_new_devpts()
        return read_controlling_terminal()

    assert in_new_namespaces(lead_and_open) == 0


@requires_user_namespaces
def test_program_that_is_executed_gets_neither_side(in_new_namespaces: InNewNamespaces) -> None:
    def open_and_ask() -> tuple[bool, bool]:
        setup = open_in_new_devpts()
        return os.get_inheritable(setup.master_fd), os.get_inheritable(setup.slave_fd)

    assert in_new_namespaces(open_and_ask) == (False, False)


def test_session_leader_gets_a_controlling_terminal() -> None:
    def lead() -> tuple[int, int]:
        os.setsid()
        _, slave = os.openpty()
        make_controlling_terminal(slave)
        return read_controlling_terminal(), os.fstat(slave).st_rdev

    found, wanted = run_in_child(lead)

    assert found == wanted


def read_controlling_terminal() -> int:
    """Return the device number of the caller's controlling terminal, 0 without one."""
    return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[4])


def test_terminal_gets_the_size_of_another() -> None:
    size = struct.pack("=4H", 33, 77, 330, 770)
    with open_pair() as (_, source), open_pair() as (_, target):
        fcntl.ioctl(source, termios.TIOCSWINSZ, size)

        copy_size(source, target)

        assert fcntl.ioctl(target, termios.TIOCGWINSZ, bytes(8)) == size


def test_first_terminal_is_found_with_all_that_are_the_same() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    with open_pair() as (_, one), open_pair() as (_, other):
        again = os.dup(one)

        found = find_terminal([null, one, other, again])

        os.close(again)
    os.close(null)
    assert found == [one, again]


def test_terminal_is_found_by_its_other_name() -> None:
    def open_dev_tty() -> list[bool]:
        lead_new_terminal()
        tty = os.open("/dev/tty", os.O_RDWR)
        return [fd in find_terminal([0, tty]) for fd in (0, tty)]

    assert run_in_child(open_dev_tty) == [True, True]


def test_no_terminal_is_found_where_there_is_none() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    read_end, write_end = os.pipe()

    found = find_terminal([null, read_end, write_end])

    for fd in (null, read_end, write_end):
        os.close(fd)
    assert found == []


def test_group_takes_the_foreground() -> None:
    def lead_and_fork() -> tuple[int, int]:
        lead_new_terminal()
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
            take_foreground()
            os._exit(0)
        os.waitpid(pid, 0)
        return pid, os.tcgetpgrp(0)

    group, foreground = run_in_child(lead_and_fork)

    assert foreground == group


@in_container
def test_command_asked_to_have_a_terminal_runs_without_where_none_is_handed_on() -> None:
    outcome = run_captured(script("tty; echo $?", terminal=True))

    assert outcome.stdout == "not a tty\n1\n"
