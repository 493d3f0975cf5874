import os
import socket
import struct
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.supervisor.journal_entries import Fact, JournalEntries, render_event
from mocker.supervisor.lines import Lines, Source
from tests.journald import Entry, open_journald, requires_journald

Fields = dict[str, bytes]

STDOUT = Source("web", "stdout", 4242, 3)
STDERR = Source("web", "stderr", 4242, 3)
OUTPUT = Source("web", "output", 4242, 3)

ANY_LINE = st.binary(max_size=40).map(lambda line: line.replace(b"\n", b""))


def make_lines(
    text: bytes, *partial: int, source: Source = STDOUT, continues: bool = False
) -> Lines:
    return Lines(source, text, partial, 0, continues)


def render(*chunks: Lines) -> list[bytes]:
    """Return the datagrams of what comes by one channel."""
    entries = JournalEntries("mine", chunks[0].source)
    return [datagram for chunk in chunks for datagram in entries.render(chunk)]


def parse(datagrams: Iterable[bytes]) -> list[Fields]:
    """Return the entries that datagrams are, as the protocol has them."""
    return [parse_entry(datagram) for datagram in datagrams]


def parse_entry(rest: bytes) -> Fields:
    entry = Fields()
    while rest:
        line, newline, rest = rest.partition(b"\n")
        name, is_plain, value = line.partition(b"=")
        if not is_plain:
            (size,) = struct.unpack_from("<Q", rest)
            value, newline, rest = rest[8 : 8 + size], rest[8 + size :][:1], rest[8 + size + 1 :]
        assert (newline, name.decode() in entry) == (b"\n", False)
        entry[name.decode()] = value
    return entry


def parse_priorities(*chunks: Lines) -> list[tuple[int, bytes]]:
    return [(int(entry["PRIORITY"]), entry["MESSAGE"]) for entry in parse(render(*chunks))]


def send(*datagrams: bytes) -> list[Entry]:
    """Return what a journald makes of datagrams, without what it adds itself."""
    with open_journald() as journald:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.connect(str(journald.socket))
            for datagram in datagrams:
                sending.send(datagram)
        entries = journald.read()
    return [
        {name: value for name, value in entry.items() if not name.startswith("_")}
        for entry in entries
    ]


# What a line becomes.


def test_entry_says_who_printed_the_line() -> None:
    (entry,) = parse(render(make_lines(b"hello\n")))

    assert len(entry.pop("CONTAINER_ID")) == 12
    assert entry == {
        "MESSAGE": b"hello",
        "PRIORITY": b"6",
        "SYSLOG_IDENTIFIER": b"web",
        "SYSLOG_PID": b"4242",
        "CONTAINER_NAME": b"web",
        "MOCKER_JOB": b"web",
        "MOCKER_SUPERVISOR": b"mine",
        "MOCKER_ATTEMPT": b"3",
        "MOCKER_CHANNEL": b"stdout",
    }


def test_container_of_a_run_has_an_id_of_its_own() -> None:
    runs = [STDOUT, STDERR, Source("web", "stdout", 4243, 4), Source("db", "stdout", 4244, 3)]

    entries = [parse(render(make_lines(b"x\n", source=run)))[0] for run in runs]

    ids = [entry["CONTAINER_ID"] for entry in entries]

    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


@given(st.lists(ANY_LINE, min_size=1))
def test_each_line_is_an_entry(lines: list[bytes]) -> None:
    text = b"".join(b" " + line + b"\n" for line in lines)

    assert [e["MESSAGE"] for e in parse(render(make_lines(text)))] == text[:-1].split(b"\n")


def test_empty_line_is_an_entry() -> None:
    assert [e["MESSAGE"] for e in parse(render(make_lines(b"\n\na\n\n")))] == [b"", b"", b"a", b""]


# Priorities.


@pytest.mark.parametrize(("source", "priority"), [(STDOUT, 6), (STDERR, 3), (OUTPUT, 6)])
def test_priority_is_that_of_the_channel(source: Source, priority: int) -> None:
    assert parse_priorities(make_lines(b"a\n", source=source)) == [(priority, b"a")]


@pytest.mark.parametrize("source", [STDOUT, STDERR])
@pytest.mark.parametrize("number", range(8))
def test_prefix_sets_the_priority_and_is_taken_off(source: Source, number: int) -> None:
    usual = parse_priorities(make_lines(b"usual\n", source=source))
    text = b"usual\n<%d>prefixed\n<%d>\nusual\n" % (number, number)

    found = parse_priorities(make_lines(text, source=source))

    assert found == [*usual, (number, b"prefixed"), (number, b""), *usual]


@pytest.mark.parametrize(
    "line",
    [b"<8>a", b"<>a", b"<-1>a", b"<30>a", b"<3 >a", b" <3>a", b"a<3>", b"<3", b"MESSAGE=<3>"],
)
def test_what_is_no_prefix_stays(line: bytes) -> None:
    assert parse_priorities(make_lines(b"<4>x\n" + line + b"\n"))[1:] == [(6, line)]


@pytest.mark.parametrize("source", [STDOUT, STDERR])
@given(st.integers(0, 7), st.integers(0, 7))
def test_only_the_first_prefix_is_one(source: Source, first: int, second: int) -> None:
    text = b"<%d><%d>a\n" % (first, second)

    assert parse_priorities(make_lines(text, source=source)) == [(first, b"<%d>a" % second)]


# Lines that come in pieces.


def test_piece_of_a_line_is_marked() -> None:
    chunk = make_lines(b"one\ntw\no\nthr\n", 1, 3)

    found = [(e["MESSAGE"], e.get("CONTAINER_PARTIAL_MESSAGE")) for e in parse(render(chunk))]

    assert found == [(b"one", None), (b"tw", b"true"), (b"o", None), (b"thr", b"true")]


def test_rest_of_a_line_has_its_priority() -> None:
    found = parse_priorities(
        make_lines(b"<4>on\n<1>e\n<2>tw\n", 0, 2), make_lines(b"<3>o\n<5>three\n", continues=True)
    )

    assert found == [(4, b"on"), (4, b"<1>e"), (2, b"tw"), (2, b"<3>o"), (5, b"three")]


# Events.


def test_facts_of_an_event_are_fields() -> None:
    facts: dict[str, Fact] = {
        "event": "job.exited",
        "exit_code": 3,
        "uptime_s": 0.5,
        "reason": "two\nlines",
    }

    (entry,) = parse([render_event("job.exited …", 4, facts)])

    assert entry == {
        "MESSAGE": "job.exited …".encode(),
        "PRIORITY": b"4",
        "SYSLOG_IDENTIFIER": b"mocker-supervise",
        "SYSLOG_PID": str(os.getpid()).encode(),
        "MOCKER_EVENT": b"job.exited",
        "MOCKER_EXIT_CODE": b"3",
        "MOCKER_UPTIME_S": b"0.5",
        "MOCKER_REASON": b"two\nlines",
    }


@pytest.mark.parametrize(
    ("fact", "value"),
    [(b"\xff\n\0", b"\xff\n\0"), ("größer", "größer".encode()), ("\udcff", rb"\udcff")],
)
def test_fact_may_be_anything(fact: str | bytes, value: bytes) -> None:
    assert parse([render_event("", 6, {"fact": fact})])[0]["MOCKER_FACT"] == value


# What journald says to it.


@requires_journald
def test_journald_takes_all_fields_of_all_entries() -> None:
    chunks = [make_lines(b"one\n<4>two\n\nfo\n", 3), make_lines(b"ur\n", continues=True)]

    found = send(*render(*chunks))

    expected = [{n: v.decode() for n, v in e.items()} for e in parse(render(*chunks))]
    assert found == expected
    assert [e["MESSAGE"] for e in found] == ["one", "two", "", "fo", "ur"]


@requires_journald
def test_journald_takes_any_bytes() -> None:
    every = bytes(number for number in range(256) if number != ord("\n"))

    found = send(*render(make_lines(every + b"\n\r\nb\0\n"), make_lines(b"\xff\n", 0)))

    assert [e["MESSAGE"] for e in found] == [every, b"\r", b"b\0", b"\xff"]


@requires_journald
def test_journald_takes_what_the_supervisor_has_to_say() -> None:
    facts: dict[str, Fact] = {"exit-code": 3, "ärger": "a\nb", "x" * 100: b"\xff"}

    (found,) = send(render_event("job.exited", 4, facts))

    assert found["MOCKER_EXIT_CODE"] == "3"
    assert found["MOCKER__RGER"] == "a\nb"
    assert found["MOCKER_" + "X" * 57] == b"\xff"
