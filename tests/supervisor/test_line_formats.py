import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.supervisor.line_formats import make_format, make_safe, render_time
from mocker.supervisor.line_splitter import LineSplitter
from mocker.supervisor.lines import Lines, Source

WHEN = 1_795_336_152_000_123_456
STDOUT = Source("web", "stdout", 12, 3)
STDERR = Source("web", "stderr", 12, 3)

texts = st.lists(st.binary().map(lambda line: line.replace(b"\n", b"") + b"\n"), min_size=1)


def render(
    name: str,
    text: bytes,
    partial: tuple[int, ...] = (),
    *,
    source: Source = STDOUT,
    continues: bool = False,
) -> bytes:
    return b"".join(make_format(name, source)(Lines(source, text, partial, WHEN, continues)))


def render_lines(name: str, text: bytes, partial: tuple[int, ...] = ()) -> list[str]:
    """Return what is behind the head of each line."""
    shown = render(name, text, partial).decode()
    assert shown.endswith("\n")
    return [line.partition("web | ")[2] for line in shown[:-1].split("\n")]


@pytest.fixture(params=["UTC", "Asia/Kolkata"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


@given(texts)
def test_raw_is_what_the_job_has_printed(lines: list[bytes]) -> None:
    text = b"".join(lines)

    assert render("raw", text) == text
    assert render("raw", text, (len(lines) - 1,)) == text[:-1]


@given(texts)
def test_json_gives_back_every_byte(lines: list[bytes]) -> None:
    shown = render("json", b"".join(lines))

    entries = [json.loads(line) for line in shown.splitlines()]
    given_back = [entry["line"].encode(errors="surrogateescape") + b"\n" for entry in entries]
    assert given_back == lines
    assert shown.decode()


def test_json_has_when_who_and_what() -> None:
    (entry,) = render("json", b"one\n", source=STDERR).splitlines()

    assert json.loads(entry) == {
        "timestamp": "2026-11-22T08:29:12.000123Z",
        "job": "web",
        "channel": "stderr",
        "line": "one",
        "pid": 12,
        "attempt": 3,
    }


def test_json_of_a_piece_says_so() -> None:
    shown = render("json", b"whole\na pie\nce\nthe la\n", (1, 3))

    entries = [json.loads(line) for line in shown.splitlines()]
    assert [(entry["line"], entry.get("partial")) for entry in entries] == [
        ("whole", None),
        ("a pie", True),
        ("ce", None),
        ("the la", True),
    ]


def test_json_has_the_end_of_a_line_that_came_in_pieces() -> None:
    (entry,) = render("json", b"\n", continues=True).splitlines()

    assert json.loads(entry)["line"] == ""


def test_json_keeps_text_readable() -> None:
    assert (
        '"line":"öl \\"x\\" \\\\ \\u001b[1m"'
        in render("json", b'\xc3\xb6l "x" \\ \x1b[1m\n').decode()
    )


def test_json_shows_a_byte_that_is_no_text_as_a_lone_surrogate() -> None:
    assert b'"line":"\\udcff"' in render("json", b"\xff\n")


def test_text_has_the_time_the_channel_and_the_job() -> None:
    assert render("text", b"one\n\ntwo\n") == (
        b"2026-11-22T08:29:12.000123Z stdout web | one\n"
        b"2026-11-22T08:29:12.000123Z stdout web | \n"
        b"2026-11-22T08:29:12.000123Z stdout web | two\n"
    )


def test_console_has_the_local_time_as_events_have_it(zone: str) -> None:
    local = {"UTC": "08:29:12.000", "Asia/Kolkata": "13:59:12.000"}[zone]

    assert render("console", b"one\n").decode() == f"2026-11-22 {local} stdout  web | one\n"


def test_each_job_has_its_colour() -> None:
    shown = [
        make_format("coloured", Source(name, "stdout", 1, 1))(
            Lines(Source(name, "stdout", 1, 1), b"one\n", (), WHEN)
        )[0].decode()
        for name in ("web", "db", "web")
    ]

    colours = [re.findall(r"(\x1b\[\d\dm)\w+ \|\x1b\[0m one\n", text) for text in shown]
    assert colours[0] == colours[2] != colours[1]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"plain", "plain"),
        (b"tab\there", "tab\there"),
        (b"\xc3\xa4 \xe2\x82\xac", "ä €"),
        (b"\x1b[31mred", "\\x1b[31mred"),
        (b"50%\r100%", "50%\\r100%"),
        (b"windows\r", "windows"),
        (b"a\0b\x7f\x07", "a\\x00b\\x7f\\x07"),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"\xc2\x9b31m", "\\x9b31m"),
        ("a\u202eb\u2028c".encode(), "a\\u202eb\\u2028c"),
    ],
)
@pytest.mark.parametrize("name", ["console", "text", "prefix"])
def test_what_people_see_is_safe(name: str, line: bytes, shown: str) -> None:
    assert render_lines(name, line + b"\n") == [shown.removesuffix("\r")]


@given(st.lists(st.binary(), min_size=1).map(lambda lines: b"\n".join(lines) + b"\n"))
def test_safe_text_has_as_many_lines_and_nothing_that_steers(text: bytes) -> None:
    safe = make_safe(text).decode()

    assert safe.count("\n") == text.count(b"\n")
    assert all(c in "\t\n" or c.isprintable() or c.isspace() or ord(c) > 0xA0 for c in safe)
    assert not set(safe) & {"\r", "\x1b", "\0", "\x9b"}


@pytest.mark.parametrize("name", ["console", "text", "prefix"])
def test_piece_of_a_line_is_marked(name: str) -> None:
    assert render_lines(name, b"whole\na pie\nce\n", (1,)) == ["whole", "a pie…", "ce"]


@pytest.mark.parametrize("name", ["console", "text", "prefix"])
def test_mere_end_of_a_line_adds_none(name: str) -> None:
    assert render(name, b"\n", continues=True) == b""
    assert render(name, b"\nnext\n", continues=True) == render(name, b"next\n")
    assert render(name, b"rest\n", continues=True) == render(name, b"rest\n")


@pytest.mark.parametrize(
    ("source", "line", "shown"),
    [
        (STDOUT, b"one", b"<6>web | one"),
        (STDERR, b"one", b"<3>web | one"),
        (STDOUT, b"<4>one", b"<4>web | one"),
        (STDERR, b"<7><4>one", b"<7>web | <4>one"),
        (STDOUT, b"<8>one", b"<6>web | <8>one"),
        (STDOUT, b" <4>one", b"<6>web |  <4>one"),
    ],
)
def test_priority_of_a_line_is_its_own_or_that_of_the_channel(
    source: Source, line: bytes, shown: bytes
) -> None:
    assert render("prefix", line + b"\n", source=source) == shown + b"\n"
    around = b"a\n" + line + b"\nb\n"
    assert render("prefix", around, source=source).splitlines()[1] == shown


@pytest.mark.parametrize(
    ("chunks", "shown"),
    [
        ([b"<2>" + b"x" * 40_000 + b"\none\n"], ["<2>x…", "<2>x…", "<2>x", "<6>one"]),
        ([b"<2>x", b"<4>y\n<4>one\n"], ["<2>x…", "<2><4>y", "<4>one"]),
        ([b"x", b"<4>y", b"\n", b"<4>one\n"], ["<6>x…", "<6><4>y…", "<4>one"]),
        ([b"<2>one\nx", b"y\n"], ["<2>one", "<6>x…", "<6>y"]),
        ([b"<2>", b"x\r\n"], ["<2>…", "<2>x"]),
    ],
)
def test_pieces_of_a_line_have_the_priority_of_its_beginning(
    chunks: list[bytes], shown: list[str]
) -> None:
    splitter = LineSplitter(16_384)
    to_bytes = make_format("prefix", STDOUT)
    rendered = b""
    for chunk in chunks:
        # Each is late: what has come of a line by then is shown.
        for text, partial, continues in (splitter.feed(chunk, len(chunk)), splitter.cut()):
            if text:
                rendered += b"".join(to_bytes(Lines(STDOUT, text, partial, WHEN, continues)))

    lines = rendered.decode().replace("web | ", "").splitlines()
    assert [re.sub("x+", "x", line) for line in lines] == shown
    assert rendered.count(b"x") == b"".join(chunks).count(b"x")


@pytest.mark.parametrize("time_ns", [0, 999, WHEN, 4_102_444_799_999_999_999])
def test_time_is_that_of_the_clock(time_ns: int) -> None:
    told = datetime.fromisoformat(render_time(time_ns))

    assert told == datetime.fromtimestamp(time_ns // 10**9, UTC).replace(
        microsecond=time_ns % 10**9 // 1000
    )


def test_told_lines_have_the_time_under_the_name_of_the_interface() -> None:
    logged, told = json.loads(render("json", b"one\n")), json.loads(render("told", b"one\n"))

    assert told.pop("time") == logged.pop("timestamp")
    assert told == logged
