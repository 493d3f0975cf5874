import errno
import socket

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mocker.isolation import SetupError, spawn
from mocker.supervisor.probe_tcp import _check_other_end as check_other_end
from mocker.supervisor.probe_tcp import ask_tcp, connect, describe
from tests.containers import in_container
from tests.leaks import read_descriptors
from tests.supervisor.probe_world import PORT, SLEEP, hang_up, serving


@in_container
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_open_port_is_good_with_either_address(host: str) -> None:
    with spawn(SLEEP) as container:
        async with serving(container, hang_up, host):
            assert await ask_tcp(container, PORT) == ""


@in_container
async def test_closed_port_is_refused() -> None:
    with spawn(SLEEP) as container:
        assert await ask_tcp(container, PORT) == "connection refused"


@in_container
async def test_port_is_that_of_the_container_asked() -> None:
    with spawn(SLEEP) as one, spawn(SLEEP) as other:
        async with serving(one, hang_up):
            answers = [await ask_tcp(container, PORT) for container in (one, other)]

    assert answers == ["", "connection refused"]


@in_container
async def test_questions_leave_no_descriptor() -> None:
    with spawn(SLEEP) as container:
        async with serving(container, hang_up):
            await ask_tcp(container, PORT)
            await wait_all_tasks_blocked()  # the server hangs up
            before = len(read_descriptors())
            for _ in range(10):
                await ask_tcp(container, PORT)
                await ask_tcp(container, PORT + 1)
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await ask_tcp(container, PORT)
            await wait_all_tasks_blocked()

            assert len(read_descriptors()) == before


@in_container
async def test_container_that_is_gone_cannot_be_asked() -> None:
    with spawn(SLEEP) as container:
        container.kill()
        container.wait()

        with pytest.raises(SetupError):
            await ask_tcp(container, PORT)


@in_container
async def test_connection_goes_to_the_first_that_answers() -> None:
    with spawn(SLEEP) as container:
        async with serving(container, hang_up, "127.0.0.2"):
            stream = await connect(container, ("127.0.0.1", "127.0.0.2"), PORT)

    with stream:
        assert stream.getpeername() == ("127.0.0.2", PORT)


async def test_socket_that_meets_itself_is_no_server() -> None:
    with trio.socket.socket() as stream:
        await stream.bind(("127.0.0.1", 0))
        await stream.connect(stream.getsockname())

        with pytest.raises(ConnectionRefusedError):
            check_other_end(stream)


def test_error_is_told_in_the_words_of_the_kernel() -> None:
    assert describe(OSError(errno.EHOSTUNREACH, "")) == "no route to host"
    assert describe(socket.gaierror("odd")) == "success"
