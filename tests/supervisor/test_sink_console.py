import errno
import os

import trio

from mocker.supervisor.sink_console import FINAL, Console

PIECE = b"x" * 65_535 + b"\n"


def test_pieces_are_written_in_order() -> None:
    memory = os.memfd_create("console")

    result = Console(memory).write([b"one\n", b"two\n"])

    assert (result, os.pread(memory, 100, 0)) == (([], None), b"one\ntwo\n")
    os.close(memory)


def test_what_is_refused_is_returned_with_the_reason() -> None:
    full = os.open("/dev/full", os.O_WRONLY)

    rest, error = Console(full).write([b"one\n", b"two\n"])

    os.close(full)
    assert b"".join(rest) == b"one\ntwo\n"
    assert error is not None
    assert error.errno == errno.ENOSPC
    assert error.errno not in FINAL


def test_descriptor_that_is_closed_is_gone_for_good() -> None:
    closed = os.memfd_create("console")
    os.close(closed)

    rest, error = Console(closed).write([b"one\n"])

    assert rest == [b"one\n"]
    assert error is not None
    assert error.errno == errno.EBADF
    assert error.errno in FINAL


def test_reader_that_is_gone_is_gone_for_good() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)

    _, error = Console(write_end).write([b"one\n"])

    os.close(write_end)
    assert error is not None
    assert error.errno in FINAL


async def test_descriptor_that_somebody_made_non_blocking_gets_everything() -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, Console(write_end).write, [PIECE] * 10)
        text = b""
        while len(text) < 10 * len(PIECE):
            await trio.lowlevel.wait_readable(read_end)
            text += os.read(read_end, 10 * len(PIECE))

    os.close(read_end)
    os.close(write_end)
    assert text == PIECE * 10


async def test_lines_that_do_not_fit_are_not_torn_by_others_in_the_same_pipe() -> None:
    read_end, write_end = os.pipe()
    other_end = os.dup(write_end)
    lines = b"".join(b"line %d\n" % number for number in range(20_000))
    events = [b"event\n"] * 100
    text = b""

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, Console(write_end).write, [lines])
        await trio.lowlevel.wait_readable(read_end)
        other = Console(other_end)
        for event in events:
            nursery.start_soon(trio.to_thread.run_sync, other.write, [event])
        while len(text) < len(lines) + sum(map(len, events)):
            await trio.lowlevel.wait_readable(read_end)
            text += os.read(read_end, 5000)

    for fd in (read_end, write_end, other_end):
        os.close(fd)
    assert text.replace(b"event\n", b"") == lines
    assert text.splitlines().count(b"event") == len(events)


async def test_who_has_little_to_say_waits_for_little_of_what_another_has() -> None:
    read_end, write_end = os.pipe()
    text = b""

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, Console(write_end).write, [PIECE] * 20)
        while len(text) < len(PIECE):
            await trio.lowlevel.wait_readable(read_end)
            text += os.read(read_end, len(PIECE))
        nursery.start_soon(trio.to_thread.run_sync, Console(write_end).write, [b"event\n"])
        await trio.sleep(0.1)  # the pipe is full, and nobody reads
        while len(text) < 20 * len(PIECE) + len(b"event\n"):
            await trio.lowlevel.wait_readable(read_end)
            text += os.read(read_end, len(PIECE))

    os.close(read_end)
    os.close(write_end)
    assert 0 <= text.index(b"event\n") < 5 * len(PIECE)


def test_caller_keeps_the_descriptor() -> None:
    memory = os.memfd_create("console")
    console = Console(memory)

    console.reopen()
    console.close()

    assert console.write([b"one\n"]) == ([], None)
    os.close(memory)
