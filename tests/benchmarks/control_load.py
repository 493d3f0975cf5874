"""How long the stop of a job takes while a supervisor is asked a thousand times a second.

    python -m tests.benchmarks.control_load [--jobs N] [--rate N] [--stops N] [--json FILE]

Run it in the root of the repository with the interpreter that mocker is installed for, as root or
as an ordinary user. A supervisor has many jobs of `sleep`, which ends at once at TERM. Another
process asks it for the state of all and what they use, as `mocker ps` does, over a few connections
that it keeps: so often in a second, if the answers come fast enough; how often it really was is
told. Meanwhile jobs are stopped, one after the other: the time is that from the connection to the
outcome. The same stops are measured before, while nobody asks.
"""

import argparse
import json
import multiprocessing
import os
import platform
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode

from mocker.supervisor.client.address import connect
from mocker.supervisor.client.blocking_transport import BlockingTransport, run_blocking
from mocker.supervisor.client.client import Client
from mocker.supervisor.client.peer_process import find_peer
from mocker.supervisor.client.resources import list_jobs

from .control_latency import supervise
from .process_use import leaving_nothing, read_processor_time
from .start_latency import ObstacleError, render_ratio

MOST_MS = 100
MOST_SHORT = 1.02  # of what was wanted to what was answered
CONNECTIONS = 8
WARM_UP_S = 1.0  # in which the load comes up
BACKLOG_S = 0.1  # what could not be asked in time is not made up for later
_METHOD, _PATH, _QUERY, _ = list_jobs(stats=True)
# Without the end of the connection that `mocker ps` asks for.
REQUEST = f"{_METHOD} {_PATH}?{urlencode(_QUERY)} HTTP/1.1\r\nHost: mocker\r\n\r\n".encode()
_CHUNK = 2**20
_END_OF_HEAD = b"\r\n\r\n"
_SIZE = b"content-length:"


class Report:
    """What was measured.

    Attributes:
        jobs: How many there are.
        wanted: Requests a second.
        reached: Requests a second that were answered.
        busy: The share of a processor that the supervisor had meanwhile.
        alone: Milliseconds of each stop while nobody asks.
        loaded: Milliseconds of each stop meanwhile.
    """

    def __init__(self, jobs: int, wanted: float) -> None:
        self.jobs, self.wanted = jobs, wanted
        self.reached = self.busy = 0.0
        self.alone: list[float] = []
        self.loaded: list[float] = []

    def checks(self) -> list[tuple[str, float | None, float | None]]:
        """Return what is looked at, what it is, and what it may be at most."""
        return [
            ("milliseconds of a stop, median", find_median(self.loaded), MOST_MS),
            ("milliseconds of a stop, worst", max(self.loaded), MOST_MS),
            ("requests wanted / answered", self.wanted / self.reached, MOST_SHORT),
        ]


def main() -> None:
    """Measure and print."""
    options = parse_options()
    report = Report(options.jobs, options.rate)
    try:
        with ExitStack() as stack:
            measure(stack, report, options.stops)
    except ObstacleError as error:
        sys.exit(f"control_load: {error}")
    sys.stdout.write(render_table(report))
    if options.json:
        options.json.write_text(json.dumps(render_json(report), indent=1))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure stops while a supervisor is asked a lot.")
    add = parser.add_argument
    add("--jobs", type=int, default=100, help="of the supervisor (default: %(default)s)")
    add("--rate", type=float, default=1000, help="requests a second (default: %(default)s)")
    add("--stops", type=int, default=20, help="of both kinds (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="write all that was measured to FILE")
    return parser.parse_args()


def measure(stack: ExitStack, report: Report, stops: int) -> None:
    """Start a supervisor and stop jobs of it, without and with others who ask."""
    directory = Path(stack.enter_context(TemporaryDirectory(prefix="control-load-")))
    stack.enter_context(leaving_nothing())
    path = supervise(directory, "many", report.jobs)
    report.alone += time_stops(path, report.jobs, stops)
    pid = find_supervisor(path)
    with asking(path, report.wanted) as answers:
        time.sleep(WARM_UP_S)
        answers.count()
        began, used = time.monotonic(), read_processor_time([pid])
        report.loaded += time_stops(path, report.jobs, stops)
        seconds = time.monotonic() - began
        report.reached = answers.count() / seconds
        report.busy = (read_processor_time([pid]) - used) / seconds


def find_supervisor(path: str) -> int:
    with connect(path) as connection:
        return find_peer(connection)


def time_stops(path: str, jobs: int, count: int) -> list[float]:
    """Stop jobs, and start each again; return the milliseconds of each stop."""
    times = []
    for number in range(count):
        name = f"sleep-{number % jobs}"
        before = time.perf_counter()
        act(path, "stop", name)
        times.append((time.perf_counter() - before) * 1000)
        act(path, "start", name)
    return times


def act(path: str, action: str, name: str) -> None:
    outcomes = run_blocking(begin(path, action, name))
    if [outcome["ok"] for outcome in outcomes] != [True]:
        raise ObstacleError(f"cannot {action} {name}: {outcomes}")


async def begin(path: str, action: str, name: str) -> list[dict[str, object]]:
    body = {"action": action, "jobs": [name]}
    async with Client(path, transport=BlockingTransport()) as client:
        return await client.stream("POST", "/v1/actions", body=body)


class Answers:
    """What another process is answered."""

    def __init__(self, end: Connection) -> None:
        self._end = end

    def count(self) -> int:
        """Return how many answers have come since it was asked for the last time."""
        try:
            self._end.send("count")
            return int(self._end.recv())
        except (EOFError, OSError) as error:
            raise ObstacleError("the process that asks has ended") from error


@contextmanager
def asking(path: str, rate: float) -> Iterator[Answers]:
    """Let another process ask for the length of a block."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=ask, args=(path, rate, theirs))
    process.start()
    theirs.close()
    try:
        yield Answers(ours)
    finally:
        ours.close()
        process.terminate()
        process.join()


def ask(path: str, rate: float, end: Connection) -> None:
    """Ask so often in a second, until killed; say how many answers there were when asked."""
    selector = selectors.DefaultSelector()
    selector.register(end, selectors.EVENT_READ, None)
    free = [Questioner(path, selector) for _ in range(CONNECTIONS)]
    count, due = 0, time.monotonic()
    while True:
        now = time.monotonic()
        due = max(due, now - BACKLOG_S)
        while free and due <= now:
            free.pop().ask()
            due += 1 / rate
        for key, _ in selector.select(max(0.0, due - now) if free else None):
            if key.data is None:
                end.recv()
                end.send(count)
                count = 0
            elif key.data.receive():
                count += 1
                free.append(key.data)


class Questioner:
    """One connection, and another one once the supervisor has had enough of it."""

    def __init__(self, path: str, selector: selectors.BaseSelector) -> None:
        self._path, self._selector = path, selector
        self._open()

    def ask(self) -> None:
        """Send one request."""
        self._answer = b""
        self._connection.sendall(REQUEST, socket.MSG_NOSIGNAL)

    def receive(self) -> bool:
        """Take what has come; return whether that is the end of an answer."""
        self._answer += (data := self._connection.recv(_CHUNK))
        head, end, body = self._answer.partition(_END_OF_HEAD)
        if not data:
            sys.exit(f"the supervisor has closed its connection after {head!r}")
        if not end or len(body) < int(head.lower().partition(_SIZE)[2].split()[0]):
            return False
        if not head.startswith(b"HTTP/1.1 200 "):
            sys.exit(f"the supervisor has answered {head!r}")
        if b"connection: close" in head.lower():
            self._selector.unregister(self._connection)
            self._connection.close()
            self._open()
        return True

    def _open(self) -> None:
        self._connection = connect(self._path)
        self._selector.register(self._connection, selectors.EVENT_READ, self)


def find_median(times: list[float]) -> float:
    return sorted(times)[len(times) // 2]


def render_table(report: Report) -> str:
    who = "root" if os.geteuid() == 0 else f"user {os.geteuid()}"
    system = f"Linux {platform.release()}, {os.cpu_count()} processors"
    lines = [
        f"Python {platform.python_version()}, {system}, as {who}; {report.jobs} jobs",
        f"{report.wanted:g} requests a second were wanted, {report.reached:.0f} were answered; "
        f"the supervisor had {report.busy:.0%} of a processor",
        "",
        f"{'milliseconds of a stop':40}{'median':>10}{'worst':>10}{'stops':>8}",
    ]
    for name, times in (("alone", report.alone), ("while others ask", report.loaded)):
        lines.append(f"{name:40}{find_median(times):10.2f}{max(times):10.2f}{len(times):8}")
    lines += ["", f"{'':56}{'is':>8}{'at most':>10}"]
    lines += [render_ratio(*check) for check in report.checks()]
    return "\n".join(lines) + "\n"


def render_json(report: Report) -> dict[str, object]:
    return {
        "jobs": report.jobs,
        "requests_per_s": {"wanted": report.wanted, "reached": report.reached},
        "busy_share": report.busy,
        "milliseconds": {"alone": report.alone, "loaded": report.loaded},
        "checks": [
            {"of": name, "is": value, "at_most": limit} for name, value, limit in report.checks()
        ],
    }


if __name__ == "__main__":
    main()
