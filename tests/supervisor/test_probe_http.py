import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mocker.isolation import spawn
from mocker.supervisor.probe_http import ask_http, find_status
from tests.containers import in_container
from tests.leaks import read_descriptors
from tests.supervisor.probe_world import PORT, SLEEP, answer_with, hang_up, serving

URL = f"http://127.0.0.1:{PORT}/health?full"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("received", "status"),
    [
        (b"", None),
        (b"HTTP/1.1 200 OK", None),
        (b"HTTP/1.1 200 OK\r\n", 200),
        (b"HTTP/1.0 404 Not Found\n", 404),
        (b"HTTP/1.1 204\r\n", 204),
        (b"HTTP/1.1 200 \xff\r\n", 200),
        (b"HTTP/1.1 100 Continue\r\n", None),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 500 Oh\r\n", 500),
        (b"HTTP/1.1 101 Switching Protocols\r\n", 101),
    ],
)
def test_status_is_found_once_its_line_is_whole(received: bytes, status: int | None) -> None:
    assert find_status(received) == status


@pytest.mark.parametrize(
    "received",
    [b"\n", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 20 OK\r\n", b"HTTP/1.1 2000\r\n", b"x" * 5000],
)
def test_what_is_no_answer_is_refused(received: bytes) -> None:
    with pytest.raises(ValueError, match="not HTTP: "):
        find_status(received)


@in_container
@pytest.mark.parametrize(
    ("parts", "answer"),
    [
        ([OK], ""),
        ([b"HTT", b"P/1.1 2", b"00 OK\r", b"\n\r\n"], ""),
        ([b"HTTP/1.1 302 Found\r\nLocation: http://a/\r\n\r\n"], ""),
        ([b"HTTP/1.1 199 Odd\r\n\r\n"], "closed without an answer"),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], "400"),
        ([b"HTTP/1.1 503 Service Unavailable\r\n\r\n"], "503"),
        ([b"220 mail\r\n"], "not HTTP: '220 mail'"),
        ([b"\x16\x03\n"], "not HTTP: '\\x16\\x03'"),
        ([b"HTTP/1.1 100 \r\n" + b"x" * 2**17], "an answer without an end"),
        ([], "closed without an answer"),
    ],
)
async def test_answer_is_judged_by_its_status(parts: list[bytes], answer: str) -> None:
    with spawn(SLEEP) as container:
        async with serving(container, answer_with(*parts)):
            assert await ask_http(container, URL) == answer


@in_container
async def test_request_is_what_a_server_needs() -> None:
    requests = []

    async def record(stream: trio.SocketStream) -> None:
        async with stream:
            requests.append(await stream.receive_some())
            await stream.send_all(OK)

    with spawn(SLEEP) as container:
        async with serving(container, record):
            await ask_http(container, URL)

    first, *headers = requests[0].decode().split("\r\n")
    assert first == "GET /health?full HTTP/1.1"
    assert {"Host: 127.0.0.1:8080", "Connection: close"} <= set(headers)
    assert headers[-2:] == ["", ""]


@in_container
async def test_address_of_six_is_asked_too() -> None:
    with spawn(SLEEP) as container:
        async with serving(container, answer_with(OK), "::1"):
            answers = [
                await ask_http(container, f"http://{host}:{PORT}")
                for host in ("[::1]", "localhost")
            ]

    assert answers == ["", ""]


@in_container
async def test_nobody_there_is_a_refusal() -> None:
    with spawn(SLEEP) as container:
        assert await ask_http(container, URL) == "connection refused"


@in_container
async def test_server_that_hangs_up_at_once_gives_no_answer() -> None:
    with spawn(SLEEP) as container:
        async with serving(container, hang_up):
            answer = await ask_http(container, URL)

    assert answer in {"closed without an answer", "connection reset by peer", "broken pipe"}


@in_container
async def test_gigabyte_is_not_read() -> None:
    sent = []

    async def flood(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
            try:
                for _ in range(2**10):
                    await stream.send_all(bytes(2**20))
                    sent.append(2**20)
            except trio.BrokenResourceError:
                pass

    with spawn(SLEEP) as container:
        async with serving(container, flood):
            answer = await ask_http(container, URL)

    assert (answer, sum(sent) < 2**25) == ("", True)


@in_container
async def test_server_that_goes_on_talking_is_not_waited_for(autojump_clock: MockClock) -> None:
    async def talk(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(OK)
            await trio.sleep(3600)

    with spawn(SLEEP) as container:
        async with serving(container, talk):
            answer = await ask_http(container, URL)
            took = trio.current_time()

    assert (answer, took < 1) == ("", True)


@in_container
async def test_questions_leave_no_descriptor() -> None:
    with spawn(SLEEP) as container:
        async with serving(container, answer_with(OK)):
            await ask_http(container, URL)
            await wait_all_tasks_blocked()
            before = len(read_descriptors())
            for _ in range(10):
                await ask_http(container, URL)
            await wait_all_tasks_blocked()

            assert len(read_descriptors()) == before
