import errno
import random
import select
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from mocker.supervisor.journal_entries import JournalEntries
from mocker.supervisor.lines import Lines, Source
from mocker.supervisor.sink_journald import Journal
from tests.journald import open_journald, requires_journald

PATIENCE = 10.0  # seconds


@contextmanager
def open_journal(path: Path) -> Iterator[Journal]:
    with closing(Journal(str(path))) as journal:
        yield journal


def make_entry(message: bytes) -> bytes:
    return b"MESSAGE=" + message + b"\n"


def make_entries(begin: int, end: int) -> list[bytes]:
    return [make_entry(b"%d" % number) for number in range(begin, end)]


def number(begin: int, end: int) -> list[str]:
    return [str(number) for number in range(begin, end)]


def write_until_full(journal: Journal) -> int:
    """Return how many entries, numbered from 0, fit into the queue of a journald in a pause."""
    for count, entry in enumerate(make_entries(0, 10_000)):
        left, error = journal.write([entry])
        if left:
            assert error is not None
            assert error.errno == errno.EAGAIN
            return count
    pytest.fail("the queue has no end")


def write_patiently(journal: Journal, pieces: Sequence[bytes]) -> None:
    """Write everything, whenever there is room."""
    left = list(pieces)
    while left:
        left, error = journal.write(left)
        if error is not None:
            assert error.errno == errno.EAGAIN
            assert is_writable(journal, PATIENCE)


def is_writable(journal: Journal, patience: float) -> bool:
    assert journal.fd is not None
    poll = select.poll()
    poll.register(journal.fd, select.POLLOUT)
    return bool(poll.poll(patience * 1000))


@requires_journald
def test_what_is_written_is_in_the_journal() -> None:
    with open_journald() as journald, open_journal(journald.socket) as journal:
        outcome = journal.write(make_entries(0, 3))

        assert outcome == ([], None)
        assert journald.read_messages() == number(0, 3)


@pytest.mark.slow
@requires_journald
def test_flood_arrives_once_and_in_order() -> None:
    source = Source("web", "stdout", 1, 1)
    lines = [b"%099d\n" % number for number in range(10_000)]
    entries = JournalEntries("mine", source)

    with open_journald() as journald, open_journal(journald.socket) as journal:
        for begin in range(0, len(lines), 650):
            text = b"".join(lines[begin : begin + 650])
            write_patiently(journal, entries.render(Lines(source, text, (), 0)))

        assert journald.read_messages() == [line.decode().strip() for line in lines]


@requires_journald
@pytest.mark.parametrize("size", [2**16, 2**18, 2**20])
def test_entry_of_any_size_arrives_whole_and_in_its_place(size: int) -> None:
    message = random.Random(size).randbytes(size).replace(b"\n", b"")  # noqa: S311
    entries = [make_entry(b"before"), make_entry(message), make_entry(b"after")]

    with open_journald() as journald, open_journal(journald.socket) as journal:
        write_patiently(journal, entries)

        assert journald.read_messages() == ["before", message, "after"]


# journald stands still.


@requires_journald
def test_full_queue_is_no_place_to_wait() -> None:
    with open_journald() as journald, open_journal(journald.socket) as journal:
        journald.pause()
        sent = write_until_full(journal)
        more = make_entries(sent, sent + 3)

        left, error = journal.write(more)

        assert (left, error and error.errno) == (more, errno.EAGAIN)
        assert not is_writable(journal, 0)


@requires_journald
def test_queue_is_writable_when_there_is_room_again_and_nothing_is_lost() -> None:
    with open_journald() as journald, open_journal(journald.socket) as journal:
        journald.pause()
        sent = write_until_full(journal)
        journald.resume()

        write_patiently(journal, make_entries(sent, 2 * sent))

        assert journald.read_messages() == number(0, 2 * sent)


@requires_journald
def test_big_entry_does_not_wait_for_room_either() -> None:
    big = make_entry(b"x" * 2**20)

    with open_journald() as journald, open_journal(journald.socket) as journal:
        journald.pause()
        write_until_full(journal)

        left, error = journal.write([big])

        assert (left == [big], error and error.errno) == (True, errno.EAGAIN)


# journald comes and goes.


@requires_journald
def test_nothing_is_lost_where_the_socket_outlives_journald() -> None:
    with open_journald(outlived=True) as journald, open_journal(journald.socket) as journal:
        write_patiently(journal, make_entries(0, 5))
        journald.synchronize()  # what it holds in its hand would die with it
        journald.kill()
        outcome = journal.write(make_entries(5, 10))
        journald.start()
        write_patiently(journal, make_entries(10, 15))

        assert outcome == ([], None)
        assert journald.read_messages() == number(0, 15)


@pytest.mark.slow
@requires_journald
def test_nothing_is_lost_when_journald_is_restarted_under_load() -> None:
    entries = make_entries(0, 5000)

    with open_journald(outlived=True) as journald, open_journal(journald.socket) as journal:
        for begin in range(0, len(entries), 500):
            write_patiently(journal, entries[begin : begin + 500])
            journald.terminate()
            journald.start()

        assert journald.read_messages() == number(0, 5000)


@requires_journald
def test_another_journald_is_found_at_once() -> None:
    with open_journald() as journald, open_journal(journald.socket) as journal:
        write_patiently(journal, make_entries(0, 5))
        journald.synchronize()
        journald.kill()
        journald.start()

        outcome = journal.write(make_entries(5, 10))

        assert outcome == ([], None)
        assert journald.read_messages() == number(0, 10)


@requires_journald
def test_what_a_dead_journald_does_not_take_can_be_written_to_the_next() -> None:
    with open_journald() as journald, open_journal(journald.socket) as journal:
        write_patiently(journal, make_entries(0, 5))
        journald.synchronize()
        journald.kill()
        left, error = journal.write(make_entries(5, 10))
        journald.start()
        write_patiently(journal, left)

        assert (left, error and error.errno) == (make_entries(5, 10), errno.ECONNREFUSED)
        assert journald.read_messages() == number(0, 10)


@requires_journald
def test_death_of_a_journald_that_stands_still_makes_the_queue_writable() -> None:
    with open_journald() as journald, open_journal(journald.socket) as journal:
        journald.pause()
        write_until_full(journal)
        journald.kill()

        assert is_writable(journal, PATIENCE)
        _, error = journal.write(make_entries(0, 1))
        assert isinstance(error, ConnectionRefusedError)


@requires_journald
def test_journald_may_come_later() -> None:
    with open_journald() as journald, open_journal(journald.socket) as journal:
        journald.kill()
        journald.socket.unlink()
        left, error = journal.write(make_entries(0, 5))
        journald.start()
        write_patiently(journal, left)

        assert error is not None
        assert error.errno == errno.ENOENT
        assert journald.read_messages() == number(0, 5)


def test_what_is_not_the_socket_of_a_journald_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # for a short path
    Path("file").touch()

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.bind("stream")
        stream.listen()
        outcomes = [Journal(name).write(make_entries(0, 2)) for name in ("file", "stream")]

    assert [left for left, _ in outcomes] == [make_entries(0, 2)] * 2
    assert [error and error.errno for _, error in outcomes] == [
        errno.ECONNREFUSED,
        errno.EPROTOTYPE,
    ]


# Its descriptor.


@requires_journald
def test_journal_has_a_descriptor_from_its_first_write_until_it_is_closed() -> None:
    with open_journald() as journald, open_journal(journald.socket) as journal:
        fds = []
        for _ in range(2):
            fds.append(journal.fd)
            write_patiently(journal, make_entries(0, 1))
            fds.append(journal.fd)
            journal.close()

    assert [fd is None for fd in fds] == [True, False, True, False]


@requires_journald
def test_somebody_may_wait_for_room_while_a_journal_is_to_be_reopened() -> None:
    with open_journald() as journald, open_journal(journald.socket) as journal:
        write_patiently(journal, make_entries(0, 1))
        fd = journal.fd

        journal.reopen()

        assert journal.fd == fd
        assert is_writable(journal, PATIENCE)


@requires_journald
def test_reopened_journal_follows_the_path() -> None:
    with (
        open_journald() as old,
        open_journald() as new,
        open_journal(old.directory / "link") as journal,
    ):
        link = old.directory / "link"
        link.symlink_to(old.socket)
        write_patiently(journal, make_entries(0, 1))
        link.unlink()
        link.symlink_to(new.socket)
        write_patiently(journal, make_entries(1, 2))
        journal.reopen()
        write_patiently(journal, make_entries(2, 3))

        assert (old.read_messages(), new.read_messages()) == (["0", "1"], ["2"])
