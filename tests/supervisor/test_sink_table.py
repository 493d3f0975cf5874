import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs
from structlog.typing import EventDict

from mocker.supervisor.config import CONSOLE, JobConfig, SinkConfig
from mocker.supervisor.lines import Lines, Source
from mocker.supervisor.sink_table import SinkTable
from tests.in_namespaces import capture_child, run_in_child
from tests.journald import open_journald, requires_journald
from tests.leaks import read_descriptors
from tests.supervisor.job_world import configure

STDOUT = Source("web", "stdout", 12, 1)
OTHER = Source("db", "stdout", 13, 1)


@pytest.fixture
def console() -> Iterator[int]:
    fd = os.memfd_create("console")
    yield fd
    os.close(fd)


@asynccontextmanager
async def open_table(console: int, socket: str = "/missing") -> AsyncIterator[SinkTable]:
    table = SinkTable(
        stdout=console, console_format="prefix", supervisor="mine", journald_socket=socket
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(table.run)
        yield table
        await table.drain(5)
        nursery.cancel_scope.cancel()


def write_to(*sinks: SinkConfig, name: str = "web") -> JobConfig:
    return configure("", name=name, channels={"stdout": sinks, "stderr": ()})


def log_file(path: Path, **fields: object) -> SinkConfig:
    return SinkConfig(kind="file", path=str(path), **fields)  # type: ignore[arg-type]


def read_all(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def put(table: SinkTable, job: JobConfig, text: bytes, source: Source = STDOUT) -> None:
    """Print once, as a run."""
    for outlet in table.open_outlets(job, source):
        outlet.put(Lines(source, text, (), 0))
        outlet.close()


async def test_line_goes_to_every_sink_in_its_format(console: int, tmp_path: Path) -> None:
    raw, text = tmp_path / "raw.log", tmp_path / "text.log"
    job = write_to(CONSOLE, log_file(raw), log_file(text, format="text"))

    async with open_table(console) as table:
        put(table, job, b"one\n")

    assert os.pread(console, 100, 0) == b"<6>web | one\n"
    assert raw.read_bytes() == b"one\n"
    assert text.read_bytes() == b"1970-01-01T00:00:00.000000Z stdout web | one\n"


async def test_memory_is_shared_among_the_sinks_of_all_jobs(console: int) -> None:
    async with open_table(console) as table:
        share = table.traffic.share
        paths = [Path(f"/logs/{number}.log") for number in range(99)]
        jobs = [write_to(CONSOLE, log_file(path)) for path in paths]

        table.expect(jobs)

        assert table.traffic.sinks == 100
        assert table.traffic.share < share


async def test_channel_without_sinks_goes_nowhere(console: int) -> None:
    async with open_table(console) as table:
        outlets = table.open_outlets(write_to(), Source("web", "stderr", 12, 1))

    assert outlets == []


async def test_file_of_two_jobs_is_opened_once(console: int, tmp_path: Path) -> None:
    path = tmp_path / "all.log"
    web, db = write_to(log_file(path)), write_to(log_file(path), name="db")

    async with open_table(console) as table:
        (first,) = table.open_outlets(web, STDOUT)
        (second,) = table.open_outlets(db, OTHER)
        same = first.sink is second.sink
        first.close()
        second.put(Lines(OTHER, b"one\n", (), 0))
        second.close()

    assert (same, path.read_bytes()) == (True, b"one\n")


async def test_file_is_closed_when_nobody_writes_to_it(console: int, tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    async with open_table(console) as table:
        before = read_descriptors()
        for _ in range(3):
            put(table, write_to(log_file(path)), b"one\n")
            await table.drain(5)
            await trio.testing.wait_all_tasks_blocked(0.01)
        after = read_descriptors()

    assert (after, path.read_bytes()) == (before, b"one\n" * 3)


async def test_file_that_was_moved_away_is_reopened_when_that_is_asked(
    console: int, tmp_path: Path
) -> None:
    path = tmp_path / "web.log"
    async with open_table(console) as table:
        (outlet,) = table.open_outlets(write_to(log_file(path)), STDOUT)
        outlet.put(Lines(STDOUT, b"one\n", (), 0))
        await outlet.sink.flush(5)
        path.rename(tmp_path / "old.log")

        count = table.reopen()

        outlet.put(Lines(STDOUT, b"two\n", (), 0))
        outlet.close()

    assert (count, path.read_bytes()) == (1, b"two\n")
    assert (tmp_path / "old.log").read_bytes() == b"one\n"


async def test_file_is_rotated_as_its_job_has_it(console: int, tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    job = write_to(log_file(path, max_size=8, backups=2))

    async with open_table(console) as table:
        for number in range(5):
            put(table, job, b"line %d\n" % number)

    assert read_all(tmp_path) == {
        "web.log": b"line 4\n",
        "web.log.1": b"line 3\n",
        "web.log.2": b"line 2\n",
    }


async def test_newest_rotation_counts_for_a_file_that_another_run_has_open(
    console: int, tmp_path: Path
) -> None:
    path = tmp_path / "all.log"
    async with open_table(console) as table:
        (old,) = table.open_outlets(write_to(log_file(path)), STDOUT)
        old.put(Lines(STDOUT, b"line 0\n", (), 0))
        await old.sink.flush(5)

        (new,) = table.open_outlets(write_to(log_file(path, max_size=8, backups=2)), OTHER)

        for number in range(1, 4):
            old.put(Lines(STDOUT, b"line %d\n" % number, (), 0))
        old.close()
        new.close()

    assert read_all(tmp_path) == {
        "all.log": b"line 3\n",
        "all.log.1": b"line 2\n",
        "all.log.2": b"line 1\n",
    }


async def write_to_own(path: str, *texts: bytes) -> None:
    """Have each text written by a run, to one of our own descriptors."""
    memory = os.memfd_create("console")
    async with open_table(memory) as table:
        for text in texts:
            put(table, write_to(log_file(Path(path), max_size=10, backups=3)), text)
            await trio.testing.wait_all_tasks_blocked(0.01)
    os.close(memory)


def test_stdout_that_is_a_file_is_shared_and_never_rotated() -> None:
    def write_lines() -> None:
        os.write(1, b"before\n")
        trio.run(write_to_own, "/dev/stdout", b"one\n", b"two\nthree\nfour\n")
        os.write(1, b"after\n")

    output = capture_child(write_lines)

    assert output == ("before\none\ntwo\nthree\nfour\nafter\n", 0)


@pytest.mark.parametrize(
    ("path", "fd"), [("/dev/stdout", 1), ("/dev/stderr", 2), ("/proc/self/fd/1", 1)]
)
def test_socket_that_was_inherited_is_written_to(path: str, fd: int) -> None:
    def write_lines() -> bytes:
        ours, theirs = socket.socketpair()
        os.dup2(theirs.fileno(), fd)
        trio.run(write_to_own, path, b"one\n")
        return ours.recv(100)

    assert run_in_child(write_lines) == b"one\n"


@pytest.mark.parametrize("path", ["/dev/stdout", "/proc/self/fd/1"])
def test_what_our_own_stdout_loses_is_counted_over_all_runs(console: int, path: str) -> None:
    async def lose_lines() -> list[EventDict]:
        job = write_to(log_file(Path(path)))
        with capture_logs() as events:
            async with open_table(console) as table:
                for _ in range(3):
                    put(table, job, b"one\ntwo\n")
                    await trio.testing.wait_all_tasks_blocked(0.01)
        return events

    def run_without_a_reader() -> list[EventDict]:
        read_end, write_end = os.pipe()
        os.dup2(write_end, 1)
        os.close(read_end)
        return trio.run(lose_lines)

    failed, lost = run_in_child(run_without_a_reader)

    assert (failed["event"], failed["sink"]) == ("sink.failed", path)
    assert (lost["event"], lost["sink"], lost["lines"]) == ("sink.lost", path, 6)


@requires_journald
async def test_lines_reach_the_journal(console: int) -> None:
    with open_journald() as journald:
        async with open_table(console, str(journald.socket)) as table:
            put(table, write_to(SinkConfig(kind="journald")), b"one\n<4>two\n")
        entries = journald.read()

    assert [(entry["MESSAGE"], entry["PRIORITY"]) for entry in entries] == [
        ("one", "6"),
        ("two", "4"),
    ]
    assert {(entry["MOCKER_SUPERVISOR"], entry["CONTAINER_NAME"]) for entry in entries} == {
        ("mine", "web")
    }


@requires_journald
async def test_line_of_a_quiet_job_reaches_the_journal_before_a_flood_that_came_earlier(
    console: int,
) -> None:
    journal = SinkConfig(kind="journald")
    flood = [b"%d" % number for number in range(3000)]
    with open_journald() as journald:
        async with open_table(console, str(journald.socket)) as table:
            journald.pause()
            put(table, write_to(journal, name="db"), b"".join(n + b"\n" for n in flood), OTHER)
            await trio.testing.wait_all_tasks_blocked(0.01)
            put(table, write_to(journal), b"web\n")
            journald.resume()
        messages = journald.read_messages()

    assert messages.index("web") < 1000
    assert [message for message in messages if message != "web"] == list(map(bytes.decode, flood))
