"""`mocker restart --rolling` of a real web server with three replicas."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.end_to_end.controlled import Controlled, open_controlled
from tests.end_to_end.processes import PATIENCE
from tests.requirements import requires_busybox, requires_user_namespaces

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]

NAMES = ("web-1", "web-2", "web-3")
# Each listens at its own port of the host's. One that finds the file "broken" does not get ready.
SCRIPT = """\
set -- {ports}
shift $(($(hostname | tail -c 2) - 1))
[ ! -e /flags/broken ] || exit 3
sleep 0.2
exec httpd -f -p 127.0.0.1:$1 -h /flags
"""
FILE = """
[jobs.web]
replicas = 3
command = ["sh", "-c", '''{script}''']
network = "host"
volumes = ["{flags}:/flags:ro"]
ready = {{ exec = ["sh", "-c", '''{probe}'''], interval = "20ms" }}
restart = "never"
"""
PROBE = "set -- {ports}; shift $(($(hostname | tail -c 2) - 1)); wget -q -O - http://127.0.0.1:$1/"


@pytest.fixture
def ports() -> list[int]:
    """Return three ports that nobody has."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in NAMES]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture
def flags(tmp_path: Path) -> Path:
    """Return the directory that all replicas serve."""
    directory = tmp_path / "flags"
    directory.mkdir()
    (directory / "index.html").write_text("hello")
    return directory


@pytest.fixture
def web(tmp_path: Path, ports: list[int], flags: Path) -> Iterator[Controlled]:
    """Three replicas that are ready."""
    script, probe = (
        text.format(ports=" ".join(map(str, ports))).replace("$", "$$") for text in (SCRIPT, PROBE)
    )
    text = FILE.format(script=script, probe=probe, flags=flags)
    with open_controlled(tmp_path, text) as web:
        for name in NAMES:
            web.run.wait_event("job.ready", job=name)
        yield web


class Visitor:
    """Somebody who asks whichever replica answers, again and again.

    Attributes:
        visits: How often.
        missed: How often none answered.
    """

    def __init__(self, ports: list[int]) -> None:
        self.visits = self.missed = 0
        self._ports = ports
        self._over = threading.Event()

    @contextmanager
    def visiting(self) -> Iterator[None]:
        """Go on for the length of a block."""
        thread = threading.Thread(target=self._visit)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _visit(self) -> None:
        while not self._over.wait(0.002):
            self.visits += 1
            self.missed += not any(map(_answers, self._ports))


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while part := connection.recv(2**16):
            answer += part
        return answer.endswith(b"hello")
    return False


def list_steps(web: Controlled) -> list[tuple[str, str]]:
    """Return who stopped and who was ready after all were ready, in that order."""
    steps = [
        (event["job"], event["event"])
        for event in web.run.events
        if event["event"] in {"job.stopping", "job.ready"}
    ]
    return steps[len(NAMES) :]


def test_at_each_time_some_replica_answers(web: Controlled, ports: list[int]) -> None:
    visitor = Visitor(ports)

    with visitor.visiting():
        result = web.mocker("restart", "--rolling", "web")

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "".join(f"{name}: restarted\n" for name in NAMES)
    assert (visitor.missed, visitor.visits > 10) == (0, True)
    web.run.wait_event("job.ready", count=2, job="web-3")
    assert list_steps(web) == [
        (name, event) for name in NAMES for event in ("job.stopping", "job.ready")
    ]


def test_rest_answers_on_if_one_does_not_become_ready(
    web: Controlled, ports: list[int], flags: Path
) -> None:
    visitor = Visitor(ports)
    (flags / "broken").touch()

    with visitor.visiting():
        result = web.mocker("restart", "--rolling", "web")

    assert result.returncode == 1
    assert result.stdout.splitlines() == [
        "web-1: not started (it ended: exit code 3)",
        "web-2: not restarted (web-1 is not ready)",
        "web-3: not restarted (web-1 is not ready)",
    ]
    assert visitor.missed == 0
    assert list_steps(web) == [("web-1", "job.stopping")]


def test_who_interrupts_it_leaves_the_next_ones_alone(web: Controlled) -> None:
    with web.begin("restart", "--rolling", "web") as process:
        web.run.wait_event("job.stopping", job="web-1")
        process.kill()
        process.communicate()

    web.run.wait_event("job.ready", count=2, job="web-1")
    again = web.mocker("restart", "--rolling", "web-3")
    assert again.stdout == "web-3: restarted\n"
    web.run.wait_event("job.ready", count=2, job="web-3")
    assert [job for job, _ in list_steps(web)] == ["web-1"] * 2 + ["web-3"] * 2


def test_second_one_at_the_same_time_is_refused(web: Controlled) -> None:
    with web.begin("restart", "--rolling", "web") as first:
        web.run.wait_event("job.stopping", job="web-1")
        second = web.mocker("restart", "--rolling", "web-3")
        first.communicate(timeout=PATIENCE)

    assert (first.returncode, second.returncode) == (0, 1)
    assert second.stdout == "web-3: not restarted (a rolling restart of web is under way)\n"
