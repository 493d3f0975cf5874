import os

import pytest
import trio

from mocker.supervisor.client.streams import TerminalStream, open_pipe


async def test_what_is_sent_is_read_at_the_other_end() -> None:
    stream, fd = open_pipe(is_input=True)
    async with stream:
        await stream.send_all(b"hello")

    with os.fdopen(fd, "rb") as theirs:
        assert theirs.read() == b"hello"


async def test_what_is_printed_is_received_until_the_end() -> None:
    stream, fd = open_pipe(is_input=False)
    with os.fdopen(fd, "wb") as theirs:
        theirs.write(b"hello")

    async with stream:
        assert b"".join([part async for part in stream]) == b"hello"


async def test_terminal_is_typed_at_and_shows_what_is_printed() -> None:
    master, slave = os.openpty()
    with os.fdopen(slave, "r+b", buffering=0) as theirs:
        async with TerminalStream(master) as stream:
            await stream.send_all(b"typed\n")
            typed = theirs.read(100)
            echoed = await stream.receive_some(100)

    assert (typed, echoed) == (b"typed\n", b"typed\r\n")


async def test_terminal_that_nobody_has_open_any_more_is_at_its_end() -> None:
    master, slave = os.openpty()
    os.write(slave, b"bye")
    os.close(slave)

    async with TerminalStream(master) as stream:
        assert [part async for part in stream] == [b"bye"]


async def test_terminal_hangs_up_when_it_is_closed() -> None:
    master, slave = os.openpty()
    with os.fdopen(slave, "rb", buffering=0) as theirs:
        stream = TerminalStream(master)
        stream.close()

        assert theirs.read(100) == b""
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"typed")


async def test_descriptor_is_known_until_it_is_closed() -> None:
    master, slave = os.openpty()
    os.close(slave)

    async with TerminalStream(master) as stream:
        fds = [stream.fileno()]
    fds.append(stream.fileno())

    assert fds == [master, -1]
