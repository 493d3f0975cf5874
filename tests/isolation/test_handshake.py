import os
import socket
from collections.abc import Iterator
from errno import ENOENT
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.isolation import CommandError, ExitStatus, IsolationError, SetupError, SpecError
from mocker.isolation.handshake import (
    parse_status,
    parse_stopped,
    receive_failure,
    receive_go,
    receive_message,
    receive_terminal,
    send_exit,
    send_failure,
    send_go,
    send_refusal,
    send_stopped,
    send_terminal,
)

Pair = tuple[socket.socket, socket.socket]

texts = st.text(st.characters(exclude_categories=[]))  # lone surrogates and all
numbers = st.integers(0, 4095)
setup_errors = st.builds(SetupError, texts, numbers, texts, texts)
command_errors = st.builds(CommandError, texts, numbers, st.sampled_from([126, 127]), texts)


@pytest.fixture
def ends() -> Iterator[Pair]:
    """Both ends of a control socket."""
    parent, init = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with parent, init:
        yield parent, init


def report(error: IsolationError) -> IsolationError | None:
    """Return an error as it arrives at the other end of a report."""
    read_end, write_end = os.pipe()
    try:
        send_failure(write_end, error)
        os.close(write_end)
        return receive_failure(read_end)
    finally:
        os.close(read_end)


@given(error=st.one_of(setup_errors, command_errors))
def test_failure_arrives_as_it_was_sent(error: SetupError | CommandError) -> None:
    expected = [str(part).replace("\0", "\\0") for part in error.args]

    arrived = report(error)

    assert type(arrived) is type(error)
    assert [str(part) for part in arrived.args] == expected


@given(text=texts)
def test_any_other_failure_arrives_with_its_sentence(text: str) -> None:
    arrived = report(SpecError(text))

    assert isinstance(arrived, SetupError)
    assert arrived.step == text.replace("\0", "\\0")


@pytest.mark.parametrize("letter", ["x", "\U0001f433"])
def test_failure_that_is_longer_than_a_pipe_is_cut_so_that_nobody_waits(letter: str) -> None:
    read_end, write_end = os.pipe()

    send_failure(write_end, SetupError(letter * 300_000, ENOENT, "", "the end"))

    os.close(write_end)
    arrived = receive_failure(read_end)
    os.close(read_end)
    assert isinstance(arrived, SetupError)
    assert (arrived.errno, arrived.hint) == (ENOENT, "the end")
    assert 1000 < len(arrived.step) < 10_000


def test_end_of_the_report_means_that_the_command_is_executed() -> None:
    read_end, write_end = os.pipe()
    os.close(write_end)

    assert receive_failure(read_end) is None

    os.close(read_end)


@pytest.mark.parametrize("count", [0, 1, 250, 251])
def test_init_gets_every_tree_in_the_order_of_the_plan(ends: Pair, count: int) -> None:
    parent, init = ends
    trees = [os.memfd_create(f"tree {number}") for number in range(count)]

    send_go(parent, trees)
    received = receive_go(init)

    names = [str(Path(f"/proc/self/fd/{fd}").readlink()) for fd in received]
    inherited = [fd for fd in received if os.get_inheritable(fd)]
    for fd in (*trees, *received):
        os.close(fd)
    assert names == [f"/memfd:tree {number} (deleted)" for number in range(count)]
    assert inherited == []


def test_init_learns_what_the_parent_could_not_do(ends: Pair) -> None:
    parent, init = ends
    send_refusal(parent, SetupError("write the user mapping", ENOENT, "/proc/1", "ask"))

    with pytest.raises(SetupError, match=r"cannot write the user mapping on /proc/1: .*; ask"):
        receive_go(init)


def test_init_learns_that_the_parent_is_gone(ends: Pair) -> None:
    parent, init = ends
    parent.close()

    with pytest.raises(EOFError):
        receive_go(init)


@pytest.mark.parametrize("status", [ExitStatus(code=0), ExitStatus(code=255), ExitStatus(signal=9)])
def test_parent_learns_how_the_command_ended(ends: Pair, status: ExitStatus) -> None:
    parent, init = ends

    send_exit(init, status)

    assert parse_status(receive_message(parent)) == status


def test_parent_learns_which_signal_stopped_the_command(ends: Pair) -> None:
    parent, init = ends

    send_stopped(init, 20)

    message = receive_message(parent)
    assert (parse_stopped(message), parse_status(message)) == (20, None)


def test_exit_is_no_stop() -> None:
    assert parse_stopped(b"exited 20") == 0


@pytest.mark.parametrize("message", [b"", b"terminal", b"go", b"unheard of"])
def test_other_message_is_neither_exit_nor_stop(message: bytes) -> None:
    assert (parse_status(message), parse_stopped(message)) == (None, 0)


def test_messages_stay_apart(ends: Pair) -> None:
    parent, init = ends

    send_stopped(init, 19)
    send_exit(init, ExitStatus(code=3))

    assert parse_stopped(receive_message(parent)) == 19
    assert parse_status(receive_message(parent)) == ExitStatus(code=3)
    assert receive_message(parent) == b""


def test_last_message_is_read_after_the_init_is_gone(ends: Pair) -> None:
    parent, init = ends
    send_exit(init, ExitStatus(code=3))
    init.close()

    assert parse_status(receive_message(parent)) == ExitStatus(code=3)
    assert receive_message(parent) == b""


def test_init_that_was_killed_before_it_read_says_nothing(ends: Pair) -> None:
    parent, init = ends
    parent.send(b"never read")
    init.close()

    assert [receive_message(parent), receive_message(parent)] == [b"", b""]


def test_init_tells_nobody_if_the_parent_is_gone(ends: Pair) -> None:
    parent, init = ends
    parent.close()

    send_exit(init, ExitStatus(code=0))
    send_stopped(init, 20)


def test_init_does_not_wait_for_a_parent_that_never_listens(ends: Pair) -> None:
    _, init = ends

    for _ in range(10_000):
        send_stopped(init, 20)


def test_parent_gets_its_side_of_the_terminal(ends: Pair) -> None:
    parent, init = ends
    master = os.memfd_create("master")
    send_terminal(init, master)

    received = receive_terminal(parent)

    name, inherited = (
        str(Path(f"/proc/self/fd/{received}").readlink()),
        os.get_inheritable(received),
    )
    for fd in (master, received):
        os.close(fd)
    assert (name, inherited) == ("/memfd:master (deleted)", False)


def test_terminal_of_an_init_that_is_gone_is_there_though_it_left_something_unread(
    ends: Pair,
) -> None:
    parent, init = ends
    master = os.memfd_create("master")
    send_terminal(init, master)
    os.close(master)
    parent.send(b"never read")
    init.close()

    received = receive_terminal(parent)

    name = str(Path(f"/proc/self/fd/{received}").readlink())
    os.close(received)
    assert name == "/memfd:master (deleted)"


@pytest.mark.parametrize("unread", [False, True])
def test_init_that_is_gone_has_no_terminal(ends: Pair, unread: bool) -> None:
    parent, init = ends
    if unread:
        parent.send(b"never read")
    init.close()

    with pytest.raises(SetupError, match="cannot open a terminal; the init ended first"):
        receive_terminal(parent)


def test_last_words_of_an_init_that_left_something_unread_are_heard(ends: Pair) -> None:
    parent, init = ends
    send_stopped(init, 20)
    send_exit(init, ExitStatus(code=3))
    parent.send(b"never read")
    init.close()

    messages = [receive_message(parent) for _ in range(3)]

    assert messages == [b"stopped 20", b"exited 3", b""]
