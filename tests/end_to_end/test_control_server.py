"""Odd clients of a supervisor: each gets an answer or none, and everything else goes on."""

import os
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from select import select
from socket import MSG_PEEK, SHUT_WR, socket

import pytest

from mocker.supervisor.client.blocking_transport import BlockingTransport, run_blocking
from mocker.supervisor.client.connections import Connections
from mocker.supervisor.client.conversation import Conversation
from mocker.supervisor.client.exchange import AnswerError
from tests.end_to_end.asking import asking
from tests.end_to_end.controlled import (
    MOCKER,
    Controlled,
    open_controlled,
    read_all,
    read_objects,
    read_status,
    render,
)
from tests.end_to_end.late_opens import open_late_opens
from tests.end_to_end.processes import find_descendants, wait_until
from tests.end_to_end.supervised import open_supervisor
from tests.requirements import (
    requires_busybox,
    requires_commands,
    requires_root,
    requires_user_namespaces,
)

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]

SLEEP = "[jobs.web]\ncommand = ['sleep', '1000']\n"
WAITING = "[jobs.late]\ncommand = ['true']\ndepends_on = { web = 'completed' }\n"
MUCH = 2**30  # bytes
LITTLE = 30 * 2**20  # bytes that nobody minds
SOON_S = 3.0  # on a busy machine; it waits for no time limit of a client's
PLACES = 256  # for connections of the owner's
MOST_LASTING = 248  # of them, for those who wait for something
STRANGER = 12345  # a user ID that nobody has


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Controlled]:
    """A supervisor with one job that runs, and one that waits for its end."""
    with open_controlled(tmp_path, SLEEP + WAITING) as control:
        yield control


@contextmanager
def unharmed(control: Controlled) -> Iterator[None]:
    """Hold that the supervisor is afterwards as it was before, and its job too."""
    assert control.read_states()["web"] == "RUNNING"  # which loads all that answers
    descriptors, memory = control.list_descriptors(), control.read_memory()

    yield

    assert control.read_states()["web"] == "RUNNING"
    settled = wait_until(lambda: len(control.list_descriptors()) <= len(descriptors))
    assert settled, f"{descriptors} before, {control.list_descriptors()} after"
    assert control.read_memory() - memory < LITTLE
    assert len(control.run.find("job.started")) == 1
    assert control.run.find("control.failed") == []
    assert control.run.remarks == []


def act(body: bytes) -> bytes:
    return render("POST", "/v1/actions", body)


def read_code(answer: bytes) -> str:
    """Return what went wrong, of an answer in the one format of errors."""
    (problem,) = read_objects(answer)
    code: str = problem["error"]["code"]
    return code


def test_socket_is_for_its_owner_alone(control: Controlled) -> None:
    mode = control.socket.stat().st_mode
    directory = control.socket.parent.stat().st_mode

    assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o600)
    assert stat.S_IMODE(directory) == 0o700


def test_socket_is_gone_after_the_end(control: Controlled) -> None:
    status = control.run.terminate()

    assert (status, control.socket.exists()) == (0, False)


def test_socket_of_a_killed_supervisor_is_replaced(tmp_path: Path) -> None:
    with open_controlled(tmp_path, SLEEP) as killed:
        killed.run.send(signal.SIGKILL)
        killed.run.wait_exit()
        refusal = killed.mocker("ps")

    with open_controlled(tmp_path, SLEEP) as control:
        states = control.read_states()

    assert (refusal.returncode, "no supervisor runs there" in refusal.stderr) == (1, True)
    assert states == {"web": "RUNNING"}


def test_anything_else_in_place_of_the_socket_is_said_and_harms_no_job(tmp_path: Path) -> None:
    with open_controlled(tmp_path, SLEEP) as control:
        path = control.socket
        control.run.terminate()
    path.mkdir()

    with open_controlled(tmp_path, SLEEP) as control:
        reason = control.run.wait_event("control.unavailable")["reason"]
        status = control.run.terminate()

    assert f"cannot listen at {path}: Is a directory" in reason
    assert status == 0


@requires_commands("curl")
def test_curl_is_answered(control: Controlled) -> None:
    curl = ["curl", "-s", "--unix-socket", str(control.socket)]

    jobs = subprocess.run([*curl, "http://x/v1/jobs?name=web"], stdout=subprocess.PIPE, check=True)
    restart = ["-d", '{"action": "restart", "jobs": ["web"]}', "http://x/v1/actions"]
    outcome = subprocess.run([*curl, *restart], stdout=subprocess.PIPE, check=True)

    assert b'"state":"RUNNING"' in jobs.stdout
    told = b'{"job":"web","outcome":"restarted","ok":true,"reason":"","last_lines":[]}\n'
    assert outcome.stdout == told


@requires_commands("curl")
def test_health_follows_what_becomes_of_a_job(tmp_path: Path) -> None:
    curl = ["curl", "-s", "-w", " %{http_code}", "--unix-socket"]

    with open_controlled(tmp_path, SLEEP) as control:
        command = [*curl, str(control.socket), "http://x/health"]
        before = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        assert control.mocker("stop", "web").returncode == 0
        stopped = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        assert control.mocker("start", "web").returncode == 0
        again = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout

    assert before == again == b'{"ok":true,"jobs":[]} 200'
    assert stopped == b'{"ok":false,"jobs":["web"]} 503'


def test_nobody_listens_on_a_network_unless_the_file_says_so(control: Controlled) -> None:
    assert control.read_states()["web"] == "RUNNING"  # which loads all that answers
    sockets, its = set[str](), Path(f"/proc/{control.run.process.pid}")
    for kind in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        with suppress(FileNotFoundError):  # no IPv6
            lines = (its / "net" / kind).read_text().splitlines()[1:]
            sockets |= {f"socket:[{line.split()[9]}]" for line in lines}

    held = set[str]()
    for fd in (its / "fd").iterdir():
        with suppress(FileNotFoundError):
            held.add(str(fd.readlink()))

    assert any(target.startswith("socket:") for target in held)
    assert not held & sockets


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (act(b"{"), 400),
        (act(b"[]"), 400),
        (act(b"\xff\xfe"), 400),
        (act(b"[" * 60_000), 400),
        (act(b'{"action": %s}' % (b"9" * 50_000)), 400),
        (act(b""), 400),
        (act(b'{"action": "stop", "jobs": ["web"], "when": "now"}'), 400),
        (act(b'{"action": "stop", "jobs": "web"}'), 400),
        (act(b'{"action": "stop", "jobs": []}'), 400),
        (act(b'{"action": "stop", "jobs": [1]}'), 400),
        (act(b'{"action": "stop", "jobs": ["web"], "wait": "no"}'), 400),
        (act(b'{"action": "stop", "jobs": ["web"], "force": 1}'), 400),
        (act(b'{"action": null, "jobs": ["web"]}'), 400),
        (act(b'{"action": "frobnicate", "jobs": ["web"]}'), 400),
        (act(b'{"action": "\\ud800", "jobs": ["web"]}'), 400),
        (act(b'{"action": "signal", "jobs": ["web"]}'), 400),
        (act(b'{"action": "signal", "signal": "KILL", "jobs": ["web"]}'), 400),
        (act(b'{"action": "signal", "signal": "99999999999", "jobs": ["web"]}'), 400),
        (act(b'{"action": "stop", "jobs": ["\\ud800"]}'), 404),
        (act(b'{"action": "stop", "jobs": ["wbe"]}'), 404),
        (act(b'{"action": "stop", "jobs": ["web", "x-*"]}'), 404),
        (act(b'{"action": "stop", "jobs": ["%s"]}' % (b"x" * 60_000)), 404),
        (
            act(b'{"action": "signal", "signal": "CONT", "jobs": [%s"web"]}' % (b'"*?",' * 9_000)),
            200,
        ),
        (act(b'{"action": "stop", "jobs": ["web"%s]}' % (b',""' * 20_000)), 400),
        (act(b" " * 70_000), 413),
        (render("GET", "/v1/jobs?name=" + "%F0%9F%92%A9" * 100), 404),
        (render("GET", "/v1/jobs?nmae=web"), 400),
        (render("GET", "/v1/../v1/jobs"), 404),
        (render("GET", "/v1/%2e%2e/%2e%2e/etc/passwd"), 404),
        (render("GET", "/../../../etc/passwd"), 404),
        (render("GET", "/v1/jobs/"), 404),
        (render("GET", "//v1/jobs"), 404),
        (render("GET", "/%00%ff%0d%0a"), 404),
        (render("GET", "/" + "a" * 10_000), 404),
        (render("DELETE", "/v1/jobs"), 405),
        (render("GET", "/v1/actions"), 405),
        (render("FROBNICATE", "/v1/jobs"), 405),
        (render("OPTIONS", "*"), 404),
        (b"GET /nowhere HTTP/1.1\r\nHost: [::1\r\nConnection: close\r\n\r\n", 404),
    ],
)
def test_request_that_cannot_be_meant_is_refused_in_one_format(
    control: Controlled, request_: bytes, status: int
) -> None:
    with unharmed(control):
        answer = control.say(request_)

    assert read_status(answer) == status
    if status != 200:
        (problem,) = read_objects(answer)
        assert set(problem["error"]) >= {"code", "message"}


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"GET /v1/jobs\r\n\r\n",
        b"GET /v1/jobs HTTP/1.1\r\n\r\n",
        b"GET /v1/j\xc3\xb6bs HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET  HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\r\n" * 20_000,
        render("GET", "/" + "a" * 200_000),
        render("GET", "/v1/jobs", b"", "X: " + "a" * 200_000),
        render("GET", "/v1/jobs", b"", *["X: y"] * 20_000),
        render("GET", "/v1/jobs", b"", "X : y"),
        render("GET", "/v1/jobs", b"", "X: a\0b"),
        render("POST", "/v1/actions", b"", "Content-Length: -1"),
        render("POST", "/v1/actions", b"", "Content-Length: 1", "Content-Length: 2"),
        render("POST", "/v1/actions", b"", "Content-Length: " + "9" * 5000),
        render("POST", "/v1/actions", b"", "Transfer-Encoding: gzip"),
        render("POST", "/v1/actions", b"", "Transfer-Encoding: chunked") + b"xyz\r\n",
        render("POST", "/v1/actions", b"", "Transfer-Encoding: chunked") + b"f" * 50 + b"\r\n",
    ],
)
def test_what_is_no_http_is_refused(control: Controlled, request_: bytes) -> None:
    with unharmed(control):
        answer = control.say(request_)

    assert read_status(answer) in range(400, 505)
    assert read_code(answer) == "bad-request"


@pytest.mark.parametrize(
    "request_",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
        render("GET", "/v1/jobs", b"", "Connection: upgrade", "Upgrade: h2c", "HTTP2-Settings: !"),
        render(
            "GET",
            "/v1/jobs",
            b"",
            "Connection: upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: x",
        ),
        render("CONNECT", "x:443"),
        render("GET", "http://[::1/v1/jobs"),
        render("GET", "/v1/jobs", b"", "Expect: 100-continue"),
        render("GET", "/v1/jobs", version="9.9"),
    ],
)
def test_request_that_asks_for_something_else_than_http_1_is_answered_in_that(
    control: Controlled, request_: bytes
) -> None:
    with unharmed(control), control.connect() as connection:
        connection.sendall(request_)
        connection.shutdown(SHUT_WR)
        answer = read_all(connection)

    assert read_status(answer) in {100, 200} or read_code(answer)


def test_http_1_0_is_answered(control: Controlled) -> None:
    answer = control.say(b"GET /v1/jobs HTTP/1.0\r\n\r\n")

    assert (read_status(answer), len(read_objects(answer))) == (200, 1)


def test_head_of_an_answer_can_be_had_alone(control: Controlled) -> None:
    answer = control.say(render("HEAD", "/v1/jobs"))

    assert (read_status(answer), answer.endswith(b"\r\n\r\n")) == (200, True)


def test_pipelined_requests_are_answered_in_order(control: Controlled) -> None:
    first = b"GET /v1/supervisor HTTP/1.1\r\nHost: x\r\n\r\n"

    answer = control.say(first * 3 + render("GET", "/nowhere"))

    statuses = [int(rest[:3]) for rest in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [200, 200, 200, 404]


@pytest.mark.parametrize("head", ["Content-Length: 1073741824", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/actions"), ("GET", "/v1/jobs"), ("POST", "/nowhere")]
)
def test_endless_body_is_not_taken(control: Controlled, head: str, method: str, path: str) -> None:
    piece = bytes(2**16)
    if head.endswith("chunked"):
        piece = b"10000\r\n" + piece + b"\r\n"
    sent = 0

    with unharmed(control), control.connect() as connection:
        connection.sendall(render(method, path, b"", head))
        with suppress(BrokenPipeError, ConnectionResetError):
            while sent < MUCH:
                connection.sendall(piece)
                sent += len(piece)
        answer = read_all(connection)

    assert sent < MUCH / 10
    assert read_status(answer) == {"/v1/actions": 413, "/v1/jobs": 200}.get(path, 404)


ODD = {
    "a-body-of-a-gigabyte": render("POST", "/v1/actions", b"", f"Content-Length: {MUCH}"),
    "an-endless-body": render("POST", "/v1/actions", b"", "Transfer-Encoding: chunked"),
    "no-json": act(b'{"action": "stop", "jobs": ['),
    "deep-json": act(b"[" * 100_000),
    "a-path-that-climbs": render("GET", "/v1/../../etc/passwd"),
    "half-a-request": b"GET /v1/jobs HT",
}


def say_on_and_on(control: Controlled, request: bytes, enough: threading.Event) -> None:
    """Say something odd, and then as much as is taken, time and again."""
    while not enough.is_set():
        with suppress(OSError), control.connect() as connection:
            connection.settimeout(0.5)
            connection.sendall(request)
            if request in (ODD["a-body-of-a-gigabyte"], ODD["an-endless-body"]):
                while not enough.is_set():
                    connection.sendall(b"10000\r\n" + bytes(2**16) + b"\r\n")
            read_all(connection)


@pytest.mark.parametrize("request_", [pytest.param(ODD[name], id=name) for name in ODD])
def test_ps_is_answered_while_others_ask_odd_things(control: Controlled, request_: bytes) -> None:
    enough, lasted = threading.Event(), list[float]()

    with unharmed(control), ThreadPoolExecutor(4) as others:
        asking = [others.submit(say_on_and_on, control, request_, enough) for _ in range(4)]
        try:
            for _ in range(5):
                began = time.monotonic()
                assert control.read_states() == {"web": "RUNNING", "late": "STARTING"}
                lasted.append(time.monotonic() - began)
        finally:
            enough.set()
        for one in asking:
            one.result()

    assert sorted(lasted)[2] < SOON_S  # that in the middle


Hold = Callable[[Controlled, ExitStack], socket]


def hold_nothing(control: Controlled, stack: ExitStack) -> socket:
    return stack.enter_context(control.connect())


def hold_half_a_head(control: Controlled, stack: ExitStack) -> socket:
    connection = hold_nothing(control, stack)
    connection.sendall(b"GET /v1/jo")
    return connection


def hold_half_a_body(control: Controlled, stack: ExitStack) -> socket:
    connection = hold_nothing(control, stack)
    connection.sendall(render("POST", "/v1/actions", b"", "Content-Length: 100") + b"{")
    return connection


def hold_an_endless_answer(control: Controlled, stack: ExitStack) -> socket:
    """Wait for the start of a job that waits for the end of another one."""
    connection = hold_nothing(control, stack)
    connection.sendall(act(b'{"action": "start", "jobs": ["late"]}'))
    assert connection.recv(1000)  # its head
    return connection


def hold_an_endless_answer_and_another_question(control: Controlled, stack: ExitStack) -> socket:
    body = b'{"action": "start", "jobs": ["late"]}'
    head = b"POST /v1/actions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    connection = hold_nothing(control, stack)
    connection.sendall((head + body) * 2)
    assert connection.recv(1000)
    return connection


def hold_answers_that_are_not_taken(control: Controlled, stack: ExitStack) -> socket:
    connection = hold_nothing(control, stack)
    connection.settimeout(0.5)
    with suppress(TimeoutError):
        while True:
            connection.sendall(b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
    return connection


HOLDS = [
    hold_nothing,
    hold_half_a_head,
    hold_half_a_body,
    hold_an_endless_answer,
    hold_an_endless_answer_and_another_question,
    hold_answers_that_are_not_taken,
]
each_hold = pytest.mark.parametrize("hold", HOLDS)


@each_hold
def test_client_that_holds_a_connection_keeps_no_other_waiting(
    control: Controlled, hold: Hold
) -> None:
    with unharmed(control), ExitStack() as stack:
        for _ in range(3):
            hold(control, stack)
        began = time.monotonic()
        states = control.read_states()
        lasted = time.monotonic() - began

    assert (states["web"], lasted < SOON_S) == ("RUNNING", True)


@each_hold
def test_client_that_holds_a_connection_does_not_delay_the_end(
    control: Controlled, hold: Hold
) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            hold(control, stack)
        began = time.monotonic()
        status = control.run.terminate()
        lasted = time.monotonic() - began

    assert (status, control.run.remarks) == (0, [])
    assert lasted < SOON_S


@pytest.mark.parametrize("request_", [b"", b"GET /v1", render("GET", "/v1/jobs")])
def test_end_while_that_which_answers_is_loaded_is_in_order(
    control: Controlled, request_: bytes
) -> None:
    with control.connect() as connection:
        connection.sendall(request_)

        status = control.run.terminate()

    assert (status, control.run.remarks) == (0, [])


@pytest.mark.slow
@pytest.mark.parametrize(
    "half",
    [
        b"",
        b"GET /v1/jo",
        render("POST", "/v1/actions", b"", "Content-Length: 100") + b"{",
    ],
    ids=["nothing", "head", "body"],
)
def test_request_that_does_not_become_whole_is_refused_in_the_end(
    control: Controlled, half: bytes
) -> None:
    with unharmed(control):
        began = time.monotonic()
        answer = control.say(half)
        lasted = time.monotonic() - began

    assert (read_status(answer), read_code(answer)) == (408, "too-slow")
    assert 9 < lasted < 10 + SOON_S


@pytest.mark.slow
@pytest.mark.timeout(60)  # ten seconds of it are theirs to ask
@pytest.mark.parametrize("hold", [hold_nothing, hold_half_a_head, hold_half_a_body])
def test_each_of_a_thousand_that_never_ask_is_told_so_and_ps_is_answered_all_the_while(
    control: Controlled, hold: Hold
) -> None:
    def read_answers() -> set[tuple[int, str]]:
        answers = [read_all(connection) for connection in connections]
        return {(read_status(answer), read_code(answer)) for answer in answers}

    with unharmed(control), ExitStack() as stack:
        connections = list[socket]()
        for number in range(1000):
            connections.append(hold(control, stack))
            if number % 200 == 0:
                assert control.read_states()["web"] == "RUNNING"
        with ThreadPoolExecutor(1) as reader:
            reading = reader.submit(read_answers)
            asked = 0
            while not reading.done():
                assert control.read_states()["web"] == "RUNNING"
                asked += 1
        answered = reading.result()

    assert answered == {(503, "busy"), (408, "too-slow")}
    assert asked > 0


@pytest.mark.slow
def test_question_on_a_connection_that_was_given_up_is_refused_and_not_followed(
    control: Controlled,
) -> None:
    stop, told = {"action": "stop", "jobs": ["web"]}, list[str]()
    with control.connect() as connection:
        assert connection.recv(1, MSG_PEEK)  # it has been told that it took too long
        connection.setblocking(False)
        conversation = Conversation(Connections(BlockingTransport()), connection, told.append)

        with pytest.raises(AnswerError, match="a request may take 10 s") as refused:
            run_blocking(conversation.ask_for_lines(("POST", "/v1/actions", (), stop)))

    assert (refused.value.status, refused.value.code) == (408, "too-slow")
    assert control.read_states()["web"] == "RUNNING"


@pytest.mark.slow
def test_connection_that_was_answered_ends_without_another_word(
    control: Controlled,
) -> None:
    with control.connect() as connection:
        connection.sendall(render("GET", "/v1/jobs").replace(b"Connection: close\r\n", b""))
        answers = read_all(connection)

    assert answers.count(b"HTTP/1.1 ") == 1
    assert read_status(answers) == 200


@pytest.mark.slow
def test_question_that_came_before_a_thousand_connections_is_answered(
    control: Controlled,
) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(control.connect())
        first.sendall(render("GET", "/v1/jobs"))  # what answers it is only loaded now
        for _ in range(1000):
            hold_nothing(control, stack)
        answer = read_all(first)

    assert read_status(answer) == 200


@pytest.mark.slow
def test_who_has_left_while_he_was_answered_leaves_his_place(control: Controlled) -> None:
    with unharmed(control):
        for _ in range(300):
            with ExitStack() as stack:
                hold_an_endless_answer_and_another_question(control, stack)
        status = control.mocker("ps", "web").returncode

        # What they wait for happens, so that their places are free without need as well.
        control.mocker("stop", "late")

    assert status == 0


def hold_all_places(control: Controlled, stack: ExitStack, request: bytes) -> list[int]:
    """Ask the same as often as there are places and take nothing; return what was granted."""
    connections = [stack.enter_context(control.connect()) for _ in range(PLACES)]
    for connection in connections:
        connection.sendall(request)
    return [read_status(connection.recv(16)) for connection in connections]


def fill_ring(tmp_path: Path) -> str:
    """Return a job that prints more than a socket has room for, and less than holds up all."""
    (tmp_path / "lines").write_text(("x" * 99 + "\n") * 2300)
    return (
        f"[jobs.full]\ncommand = ['cat', '{tmp_path}/lines']\ntype = 'oneshot'\nisolate = false\n"
    )


@pytest.mark.slow
def test_readers_who_take_nothing_leave_room_for_who_looks_and_acts(tmp_path: Path) -> None:
    with open_controlled(tmp_path, SLEEP + fill_ring(tmp_path)) as control, ExitStack() as stack:
        control.run.wait_event("job.exited", job="full")

        granted = hold_all_places(control, stack, render("GET", "/v1/logs"))
        states = control.read_states()
        shut_down = control.mocker("shutdown")

    assert (granted.count(200), granted.count(503)) == (MOST_LASTING, PLACES - MOST_LASTING)
    assert states == {"web": "RUNNING", "full": "EXITED"}
    assert (shut_down.stderr, shut_down.returncode) == ("", 0)


@pytest.mark.slow
def test_those_who_wait_for_what_they_asked_for_leave_room_for_who_does_not(
    control: Controlled,
) -> None:
    start = act(b'{"action": "start", "jobs": ["late"]}')

    with ExitStack() as stack:
        granted = hold_all_places(control, stack, start)
        states = control.read_states()
        refused = control.mocker("stop", "web")
        unmoved = control.read_states()
        stopped = control.mocker("stop", "--no-wait", "--force", "web")
        shut_down = control.mocker("shutdown")

    assert (granted.count(200), granted.count(503)) == (MOST_LASTING, PLACES - MOST_LASTING)
    assert states == unmoved == {"web": "RUNNING", "late": "STARTING"}
    sentence = f"cannot answer: too many others follow or wait ({MOST_LASTING}); try again"
    assert (refused.stderr, refused.returncode) == (f"mocker stop: {sentence}\n", 1)
    assert (stopped.stdout, stopped.returncode) == ("web: stopping\n", 0)
    assert (shut_down.stderr, shut_down.returncode) == ("", 0)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_reloads_that_wait_for_a_disk_leave_room_for_who_looks_and_shuts_down(
    tmp_path: Path, method: str
) -> None:
    # Without isolation, as a filter may mean a container without IDs of its own.
    text = f"{SLEEP}isolate = false\n"
    with (
        open_late_opens() as disk,
        open_controlled(tmp_path, text, disk.wrapper) as control,
        ExitStack() as stack,
    ):
        disk.shut()
        connections = [hold_nothing(control, stack) for _ in range(PLACES)]
        for connection in connections:
            connection.sendall(render(method, "/v1/reload"))
        disk.wait_caller()

        answered = wait_answers(connections, PLACES - MOST_LASTING)
        refused = {read_code(read_all(connection)) for connection in answered}
        states = control.read_states()
        shut_down = control.mocker("shutdown", "--no-wait")
        status = control.run.wait_exit()

    assert (len(answered), refused) == (PLACES - MOST_LASTING, {"busy"})
    assert states == {"web": "RUNNING"}
    assert (shut_down.stderr, shut_down.returncode, status) == ("", 0, 0)


def wait_answers(connections: list[socket], count: int) -> list[socket]:
    """Return those on which something comes, once there are so many at least."""
    answered = list[socket]()

    def has_come() -> bool:
        answered[:] = select(connections, [], [], 0)[0]
        return len(answered) >= count

    assert wait_until(has_come)
    return answered


@pytest.mark.slow
def test_what_answers_is_loaded_after_all_jobs_are_started(tmp_path: Path) -> None:
    jobs = "".join(SLEEP.replace("web", f"web{number}") for number in range(100))
    wait = ["wait", "web0", "--timeout", "20s"]

    with asking(tmp_path, *wait) as waiting, open_supervisor(tmp_path, jobs) as run:
        waiting.communicate(timeout=20)
        started = len(run.find("job.started"))

    assert started == 100


@requires_root
@requires_commands("curl", "setpriv")
def test_another_users_process_is_refused_and_told_of() -> None:
    # pytest's own directories are closed to it.
    top = Path(tempfile.mkdtemp())
    try:
        with open_controlled(top, SLEEP) as control:
            top.chmod(0o755)
            control.socket.parent.chmod(0o755)
            control.socket.chmod(0o666)

            curl = ["curl", "-s", "--unix-socket", str(control.socket), "http://x/v1/jobs"]
            user = [f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups"]
            answer = subprocess.run(["setpriv", *user, *curl], stdout=subprocess.PIPE, check=False)
            refused = control.run.wait_event("control.refused")
            states = control.read_states()
            control.run.terminate()
    finally:
        shutil.rmtree(top)

    assert b'"code": "not-allowed"' in answer.stdout
    assert (refused["uid"], refused["level"]) == (STRANGER, "warning")
    assert states == {"web": "RUNNING"}


@requires_root
@requires_commands("unshare")
def test_supervisor_that_is_pid_1_is_asked_like_any_other(tmp_path: Path) -> None:
    wrapper = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]

    with open_controlled(tmp_path, SLEEP, wrapper) as control, ExitStack() as stack:
        hold_half_a_head(control, stack)
        states = control.read_states()
        os.kill(find_descendants(control.run.process.pid)[0], signal.SIGTERM)
        status = control.run.wait_exit()

    assert (states, status) == ({"web": "RUNNING"}, 0)


@requires_commands("unshare", "nsenter", "mount")
@pytest.mark.parametrize(
    ("its", "ours"),
    [
        ("-uXDG_RUNTIME_DIR", "XDG_RUNTIME_DIR=/run/user/0"),  # a service, and a login
        ("XDG_RUNTIME_DIR=/run/user/0", "-uXDG_RUNTIME_DIR"),  # a login, and cron
    ],
)
def test_supervisor_is_found_whoever_has_started_it(tmp_path: Path, its: str, ours: str) -> None:
    alone = 'mount -t tmpfs tmpfs /run && mkdir -p /run/user/0 && exec env "$@"'
    wrapper = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", alone, "sh", its]

    with open_supervisor(tmp_path, SLEEP, wrapper) as run:
        run.wait_event("job.started")
        enter = ["nsenter", "--user", "--mount", "--preserve-credentials"]
        enter.append(f"--target={run.process.pid}")
        result = subprocess.run(
            [*enter, "env", ours, MOCKER, "ps", "-q"], capture_output=True, text=True, check=False
        )

    assert (result.stdout, result.stderr) == ("web\n", "")


def find_starts(control: Controlled) -> int:
    return len(control.run.find("job.started", job="web"))


@pytest.mark.slow
def test_twenty_restarts_at_once_leave_one_process_and_all_are_answered(
    control: Controlled,
) -> None:
    processes = [control.begin("restart", "web") for _ in range(20)]
    outcomes = [process.communicate(timeout=20)[0] for process in processes]

    assert outcomes == ["web: restarted\n"] * 20
    assert [process.returncode for process in processes] == [0] * 20
    assert control.read_states()["web"] == "RUNNING"
    assert count_sleeps(control) == 1
    assert find_starts(control) in range(2, 22)


def count_sleeps(control: Controlled) -> int:
    titles = []
    for pid in find_descendants(control.run.process.pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            titles.append(Path(f"/proc/{pid}/cmdline").read_bytes())
    return titles.count(b"sleep\x001000\x00")


def test_stop_during_a_restart_wins(tmp_path: Path) -> None:
    stubborn = "trap '' TERM; echo ready; while :; do sleep 1000; done"
    keys = "grace = '1s'\nready = { log = '^ready$' }\n"
    text = f'[jobs.web]\ncommand = ["sh", "-c", "{stubborn}"]\n{keys}'
    with open_controlled(tmp_path, text) as control:
        control.run.wait_event("job.ready")
        restart = control.begin("restart", "web")
        control.run.wait_event("job.stopping")

        stop = control.mocker("stop", "web")
        told, _ = restart.communicate(timeout=10)
        states, starts = control.read_states(), find_starts(control)

    assert (stop.stdout, stop.returncode) == ("web: stopped\n", 0)
    assert (told, restart.returncode) == ("web: stopped (somebody else asked for that)\n", 1)
    assert (states, starts) == ({"web": "STOPPED"}, 1)


def test_stop_goes_on_when_nobody_waits_for_it_any_more(tmp_path: Path) -> None:
    db = "[jobs.db]\ncommand = ['sleep', '1000']\n"
    text = f"{db}{SLEEP}depends_on = {{ db = 'started' }}\n"
    with open_controlled(tmp_path, text) as control:
        control.run.wait_event("job.started", job="web")
        body = act(b'{"action": "stop", "jobs": ["db", "web"]}')
        with control.connect() as connection:
            connection.sendall(body)
            control.run.wait_event("job.stopping", job="web")

        control.run.wait_event("job.stopped", job="db")
        control.run.terminate()

    stopped = [event["job"] for event in control.run.find("job.stopped")]
    assert stopped == ["web", "db"]
