import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
import structlog
import trio
from hypothesis import given
from hypothesis import strategies as st

from mocker.supervisor.event_journal import EventJournal
from mocker.supervisor.log import choose_line_format, configure_logging, resolve_format
from mocker.supervisor.outage import Outage
from mocker.supervisor.output import Output
from mocker.supervisor.sink_journald import Journal
from tests.journald import Entry, open_journald, requires_journald

Log = structlog.typing.FilteringBoundLogger

PRIORITIES = [("debug", 7), ("info", 6), ("warning", 4), ("error", 3)]
FORMATS = ["console", "json", "prefix"]  # of lines


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def log_to(
    fd: int,
    log_format: str,
    act: Callable[[Log], object],
    level: str = "info",
    socket: str = "/missing",
) -> None:
    """Let a function log to a descriptor, or to the journal."""

    async def run() -> None:
        output = Output(fd)
        journal = Journal(socket)
        events = EventJournal("mine", journal, output, Outage("journald"))
        configure_logging(log_format, level, output, events)
        act(structlog.get_logger("mocker.test", job="web"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(output.run)
            await output.drain(5)
            nursery.cancel_scope.cancel()
        journal.close()

    trio.run(run)


def logged(log_format: str, act: Callable[[Log], object], level: str = "info") -> str:
    """Return what a function logs to a file."""
    memory = os.memfd_create("log")
    try:
        log_to(memory, log_format, act, level)
        return os.pread(memory, 2**20, 0).decode()
    finally:
        os.close(memory)


def log_on_terminal(act: Callable[[Log], object]) -> str:
    ours, theirs = os.openpty()
    try:
        log_to(theirs, "auto", act)
        return os.read(ours, 10_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)


def log_to_journal(
    log_format: str, act: Callable[[Log], object], fd: int = 2, level: str = "info"
) -> list[Entry]:
    """Return the entries that a function makes in the journal."""
    with open_journald() as journald:
        log_to(fd, log_format, act, level, str(journald.socket))
        return journald.read()


@contextmanager
def open_stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Make a file that systemd would have opened as a stream to the journal."""
    stream = os.memfd_create("stream")
    try:
        status = os.fstat(stream)
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        yield stream
    finally:
        os.close(stream)


def log_exit(log: Log) -> None:
    log.warning("job.exited", exit_code=3, uptime_s=0.41, next="restart", reason="no luck")


def test_json_has_a_timestamp_and_all_facts() -> None:
    before = datetime.now(UTC)

    event = json.loads(logged("json", log_exit))

    assert before <= datetime.fromisoformat(event["timestamp"]) <= datetime.now(UTC)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event.pop("timestamp"))
    assert event == {
        "level": "warning",
        "event": "job.exited",
        "job": "web",
        "exit_code": 3,
        "uptime_s": 0.41,
        "next": "restart",
        "reason": "no luck",
    }


def test_json_begins_with_when_and_what() -> None:
    assert list(json.loads(logged("json", log_exit)))[:3] == ["timestamp", "level", "event"]


@pytest.mark.parametrize(("method", "priority"), PRIORITIES)
def test_line_begins_with_its_priority(method: str, priority: int) -> None:
    line = logged("prefix", lambda log: getattr(log, method)("job.started", pid=7), "debug")

    assert line == f"<{priority}>job.started job=web pid=7\n"


def test_console_has_time_level_name_and_facts() -> None:
    line = logged("console", log_exit)

    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", line[:23])
    assert line[23:] == (
        ' warning job.exited job=web exit_code=3 uptime_s=0.41 next=restart reason="no luck"\n'
    )


def test_terminal_gets_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)

    assert "\x1b[1mjob.exited\x1b[0m" in log_on_terminal(log_exit)


@pytest.mark.parametrize(("name", "value"), [("TERM", "dumb"), ("NO_COLOR", "1")])
def test_terminal_that_wants_no_colours_gets_none(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)

    text = log_on_terminal(log_exit)

    assert "job.exited" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_events_below_the_level_are_left_out(level: str, expected: list[str]) -> None:
    def act(log: Log) -> None:
        for method in ("debug", "info", "warning", "error"):
            getattr(log, method)("job.started")

    lines = logged("json", act, level).splitlines()

    assert [json.loads(line)["level"] for line in lines] == expected


def test_new_configuration_is_followed() -> None:
    memory = os.memfd_create("log")
    output = Output(memory)

    def act(log: Log) -> None:
        log.debug("first")
        events = EventJournal("mine", Journal("/"), output, Outage("journald"))
        configure_logging("json", "debug", output, events)
        log.debug("second")

    assert logged("prefix", act) == ""
    assert [json.loads(line)["event"] for line in output._gathered] == ["second"]
    os.close(memory)


# Whatever the facts contain.


@pytest.mark.parametrize("log_format", FORMATS)
@given(st.one_of(st.text(), st.binary(), st.lists(st.text())))
def test_event_is_one_line_that_can_be_printed(log_format: str, fact: object) -> None:
    text = logged(log_format, lambda log: log.info("job.exited", reason=fact))

    assert text.endswith("\n")
    assert text[:-1].isprintable()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_gives_back_any_text(fact: str) -> None:
    text = logged("json", lambda log: log.info("job.exited", reason=fact))

    assert json.loads(text)["reason"] == fact


@pytest.mark.parametrize(
    ("fact", "expected"),
    [
        ("word", "word"),
        ("größer", "größer"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "x"', r'"say \"x\""'),
        ("one\n<0>two", r'"one\n<0>two"'),
        ("\x1b[31mred", r'"\u001b[31mred"'),
        ("a\u2028b\x85c", r'"a\u2028b\u0085c"'),
        ("right\u202eleft", r'"right\u202eleft"'),
        ("name\udcff", '"name?"'),
        (b"bytes", '"bytes"'),
        (b"\xff", '"?"'),
        (0.5, "0.5"),
        (True, "true"),
        (None, "null"),
        (["a", "b c"], '["a", "b c"]'),
        (OSError("no"), '"no"'),
    ],
)
def test_fact_that_is_no_plain_word_is_json(fact: object, expected: str) -> None:
    line = logged("prefix", lambda log: log.info("job.exited", reason=fact))

    assert line == f"<6>job.exited job=web reason={expected}\n"


@pytest.mark.parametrize("log_format", FORMATS)
def test_traceback_is_one_line(log_format: str) -> None:
    def act(log: Log) -> None:
        try:
            os.close(-1)
        except OSError:
            log.exception("supervisor.failed")

    text = logged(log_format, act)

    assert text.count("\n") == 1
    assert "Bad file descriptor" in text


# In the journal.


@requires_journald
def test_journal_has_the_event_as_a_line_and_each_fact_as_a_field() -> None:
    (entry,) = log_to_journal("journald", log_exit)

    assert {name: entry[name] for name in entry if not name.startswith("_")} == {
        "MESSAGE": 'job.exited job=web exit_code=3 uptime_s=0.41 next=restart reason="no luck"',
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "mocker-supervise",
        "SYSLOG_PID": str(os.getpid()),
        "MOCKER_SUPERVISOR": "mine",
        "MOCKER_EVENT": "job.exited",
        "MOCKER_JOB": "web",
        "MOCKER_EXIT_CODE": "3",
        "MOCKER_UPTIME_S": "0.41",
        "MOCKER_NEXT": "restart",
        "MOCKER_REASON": "no luck",
    }


@requires_journald
def test_journal_has_the_priority_of_each_event() -> None:
    def act(log: Log) -> None:
        for method, _ in PRIORITIES:
            getattr(log, method)(method)

    entries = log_to_journal("journald", act, level="debug")

    found = [(entry["MOCKER_EVENT"], int(entry["PRIORITY"])) for entry in entries]
    assert found == PRIORITIES


@requires_journald
@pytest.mark.parametrize(
    ("fact", "expected"),
    [
        ("", ""),
        ("two words", "two words"),
        ("one\n<0>two", "one\n<0>two"),
        ("\x1b[31mred", b"\x1b[31mred"),
        ("name\udcff", r"name\udcff"),
        (b"\xff\n", b"\xff\n"),
        (True, "true"),
        (None, "null"),
        (["a", "b c"], '["a", "b c"]'),
    ],
)
def test_field_is_the_fact_as_it_is_or_json(fact: object, expected: str | bytes) -> None:
    (entry,) = log_to_journal("journald", lambda log: log.info("job.exited", reason=fact))

    assert entry["MOCKER_REASON"] == expected


@requires_journald
def test_stream_to_the_journal_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_stream(monkeypatch) as stream:
        (entry,) = log_to_journal("auto", log_exit, fd=stream)

        assert (entry["MOCKER_EVENT"], os.pread(stream, 1, 0)) == ("job.exited", b"")


def test_stream_to_the_journal_has_what_journald_does_not_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with open_stream(monkeypatch) as stream:
        log_to(stream, "auto", log_exit)

        lines = os.pread(stream, 2**20, 0).decode().splitlines()
    assert [line.split()[0] for line in lines] == ["<4>job.exited", "<3>sink.failed"]


def test_journal_that_is_not_there_leaves_lines() -> None:
    lines = logged("journald", log_exit).splitlines()

    assert [json.loads(line)["event"] for line in lines] == ["job.exited", "sink.failed"]


# Which format.


@pytest.mark.parametrize("log_format", [*FORMATS, "journald"])
def test_format_that_is_asked_for_is_used(log_format: str) -> None:
    assert resolve_format(log_format, 2) == log_format


def test_terminal_is_for_people() -> None:
    ours, theirs = os.openpty()

    resolved = resolve_format("auto", theirs)

    os.close(ours)
    os.close(theirs)
    assert resolved == "console"


@pytest.mark.parametrize(
    ("stream", "expected"),
    [("{0.st_dev}:{0.st_ino}", "journald"), ("1:{0.st_ino}", "json"), ("", "json")],
)
def test_stream_of_the_journal_is_known_by_its_number(
    monkeypatch: pytest.MonkeyPatch, stream: str, expected: str
) -> None:
    read_end, write_end = os.pipe()
    monkeypatch.setenv("JOURNAL_STREAM", stream.format(os.fstat(write_end)))

    resolved = resolve_format("auto", write_end)

    os.close(read_end)
    os.close(write_end)
    assert resolved == expected


def test_what_is_no_stream_of_the_journal_gets_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    null = os.open(os.devnull, os.O_WRONLY)

    resolved = resolve_format("auto", null)

    os.close(null)
    assert resolved == "json"


@pytest.mark.parametrize(
    ("log_format", "expected"),
    [
        ("auto", "json"),
        ("journald", "json"),
        ("json", "json"),
        ("console", "console"),
        ("prefix", "prefix"),
    ],
)
def test_lines_of_jobs_look_as_events_do(log_format: str, expected: str) -> None:
    null = os.open(os.devnull, os.O_WRONLY)

    found = choose_line_format(log_format, null)

    os.close(null)
    assert found == expected


@pytest.mark.parametrize(("no_colour", "expected"), [("", "coloured"), ("1", "console")])
def test_lines_of_jobs_have_colours_on_a_terminal(
    no_colour: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", no_colour)
    ours, theirs = os.openpty()

    found = choose_line_format("auto", theirs)

    os.close(ours)
    os.close(theirs)
    assert found == expected


def test_lines_of_jobs_have_their_priority_where_the_journal_reads_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read_end, write_end = os.pipe()
    status = os.fstat(write_end)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")

    found = choose_line_format("auto", write_end)

    os.close(read_end)
    os.close(write_end)
    assert found == "prefix"
