import math
import os
import socket
import sys
import time

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from mocker.isolation import Container, ContainerSpec, spawn
from mocker.supervisor.config import Probe
from mocker.supervisor.notices import DescriptorNotice, LogNotice, Notice, SocketNotice, make_notice
from tests.containers import in_container
from tests.leaks import read_descriptors
from tests.supervisor.job_world import configure
from tests.supervisor.probe_world import SLEEP

NAME = f"mocker/test/{os.getpid()}"
# Python that sends some messages, each as an argument, and waits until its stdin ends.
SEND = """
import os, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\\0", 1))
    for message in sys.argv[1:]:
        notify.send(message.encode("latin-1").replace(b"NUL", bytes(1)))
"""


def send(*messages: str, wait: bool = True) -> ContainerSpec:
    """Return the spec of a process that sends messages by sd_notify."""
    code = f"{SEND}sys.stdin.read()" if wait else SEND
    return ContainerSpec(
        [sys.executable, "-c", code, *messages],
        rootfs="host",
        network="host",
        isolate=False,
        notify=NAME,
    )


async def follow_until_said(notice: Notice, container: Container) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(notice.follow, container)
        await notice.said.wait()
        nursery.cancel_scope.cancel()


async def follow_to_the_end(notice: Notice, container: Container) -> None:
    """Follow until the container is gone, as a job does."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(notice.follow, container)
        await trio.lowlevel.wait_readable(container)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("probe", "kind"),
    [
        (None, Notice),
        (Probe(kind="tcp", target=80), Notice),
        (Probe(kind="log", target="up"), LogNotice),
        (Probe(kind="fd", target=3), DescriptorNotice),
        (Probe(kind="notify"), SocketNotice),
    ],
)
def test_job_has_the_notice_of_its_probe(probe: Probe | None, kind: type) -> None:
    notice = make_notice(configure("true", ready=probe))

    notice.close()
    assert type(notice) is kind


# In what it prints


@pytest.mark.parametrize(
    ("pattern", "lines"),
    [
        ("ready", b"now ready"),
        ("^ready$", b"starting\nready\ndone"),
        ("port [0-9]+", b"port 8080"),
        ("bereit für", "bereit für alle".encode()),
        ("\\u2713", "\N{CHECK MARK} done".encode()),
    ],
)
def test_line_that_matches_is_a_word(pattern: str, lines: bytes) -> None:
    notice = LogNotice(pattern, "web")

    assert notice.see is not None
    notice.see(lines)

    assert notice.good


@pytest.mark.parametrize(
    ("pattern", "lines"),
    [
        ("^ready$", b"not ready"),
        ("one.two", b"one\ntwo"),
        (r"one\stwo", b"one\ntwo"),
        ("ready", b"\xff\0"),
        # Searched by the cube of its length, it would take minutes.
        ("up.*up.*ready", b"up" * 2**13),
    ],
)
def test_line_that_does_not_match_is_none(pattern: str, lines: bytes) -> None:
    notice = LogNotice(pattern, "web")

    assert notice.see is not None
    notice.see(lines)

    assert not notice.said.is_set()


def test_search_of_a_line_ends_though_it_would_take_for_ever() -> None:
    notice = LogNotice("(x+)+y", "web")
    began = time.thread_time()

    assert notice.see is not None
    with capture_logs() as events:
        notice.see(b"x" * 200 + b"\n" + b"x" * 1024)

    assert time.thread_time() - began < 1
    assert not notice.said.is_set()
    assert [event["event"] for event in events] == ["search.timed_out"]
    assert (events[0]["job"], events[0]["pattern"]) == ("web", "(x+)+y")


def test_line_after_one_that_takes_too_long_is_a_word() -> None:
    notice = LogNotice("(x+)+y", "web")

    assert notice.see is not None
    with capture_logs():
        notice.see(b"x" * 1024 + b"\nxxy")

    assert notice.good


# Those of 80 bytes take 3 ms: none of them is too much by itself.
@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"x" * 1024, ["search.timed_out", "search.given_up"]),
        (b"x" * 80, ["search.given_up"]),
    ],
)
def test_lines_that_keep_taking_long_are_searched_no_more(line: bytes, told: list[str]) -> None:
    notice = LogNotice("(x+)+y", "web")
    began = time.thread_time()

    assert notice.see is not None
    with capture_logs() as events:
        for _ in range(2):
            notice.see(b"\n".join([line] * 1000 + [b"xxy"]))

    assert time.thread_time() - began < 2
    assert not notice.said.is_set()
    assert [event["event"] for event in events] == told


@pytest.mark.slow
def test_many_lines_that_are_searched_at_once_are_not_too_many() -> None:
    notice = LogNotice("listening on port [0-9]+", "web")

    assert notice.see is not None
    notice.see(b"x" * 100 + (b"\n" + b"x" * 100) * 300_000)
    notice.see(b"listening on port 8080")

    assert notice.good


# On a descriptor


@in_container
@pytest.mark.parametrize("text", [b"\n", b"ready\n", b"\nand more\n" * 1000])
async def test_newline_is_a_word(text: bytes) -> None:
    notice = DescriptorNotice(3)
    (write_end,) = notice.hand_out()

    with spawn(SLEEP) as container:
        os.write(write_end, text)
        await follow_until_said(notice, container)

    os.close(write_end)
    notice.close()
    assert notice.good


@in_container
async def test_descriptor_that_is_closed_without_a_word_is_a_refusal(
    autojump_clock: MockClock,
) -> None:
    notice = DescriptorNotice(7)
    (write_end,) = notice.hand_out()

    with spawn(SLEEP) as container:
        os.write(write_end, b"no newline")
        os.close(write_end)
        await follow_until_said(notice, container)

    notice.close()
    assert not notice.good
    assert notice.refusal == "closed descriptor 7 without saying that it is ready"


@in_container
async def test_descriptor_that_is_open_and_silent_is_neither() -> None:
    notice = DescriptorNotice(3)
    (write_end,) = notice.hand_out()

    with spawn(SLEEP) as container:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(notice.follow, container)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    os.close(write_end)
    notice.close()
    assert not notice.said.is_set()


def test_descriptor_notice_leaves_nothing_open_whether_handed_out_or_not() -> None:
    before = len(read_descriptors())

    one, other = DescriptorNotice(3), DescriptorNotice(3)
    for fd in one.hand_out():
        os.close(fd)
    one.close()
    other.close()

    assert len(read_descriptors()) == before


# By sd_notify


@pytest.mark.parametrize("messages", [["READY=1"], ["A=b", "STATUS=x\nREADY=1\nMAINPID=7\n"]])
async def test_ready_is_a_word(messages: list[str]) -> None:
    notice = SocketNotice("web")
    read_end, write_end = os.pipe()

    with spawn(send(*messages), stdin=read_end) as container:
        await follow_until_said(notice, container)

    os.close(read_end)
    os.close(write_end)
    assert notice.good


@pytest.mark.parametrize(
    "messages",
    [
        ["READY=0"],
        ["READY=11"],
        ["READY"],
        ["", "NUL", "=", "\n\n=\n", "ERRNO=2"],
        ["\xff\xfeNULREADY=1"],
        ["X" * 4090 + "\nREADY=1"],
    ],
)
async def test_garbage_is_none(messages: list[str]) -> None:
    notice = SocketNotice("web")

    with spawn(send(*messages, wait=False)) as container:
        await follow_to_the_end(notice, container)

    assert not notice.said.is_set()


async def test_status_is_remembered_and_told() -> None:
    notice = SocketNotice("web")

    with (
        capture_logs() as events,
        spawn(send("STATUS=warming up", f"STATUS={'x' * 999}", wait=False)) as container,
    ):
        await follow_to_the_end(notice, container)

    assert [event["status"] for event in events] == ["warming up", "x" * 200]
    assert notice.status == "x" * 200


async def test_flood_is_read_in_portions(autojump_clock: MockClock) -> None:
    notice = SocketNotice("web")

    with capture_logs(), spawn(send(*["STATUS=x"] * 1000, "READY=1", wait=False)) as container:
        await follow_until_said(notice, container)

    assert notice.good
    assert trio.current_time() >= 0.5


async def test_nobody_else_can_speak_for_the_job() -> None:
    notice = SocketNotice("web")

    with spawn(send()) as container:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"READY=1\nSTATUS=spoofed", f"\0{NAME}")
        with trio.move_on_after(math.inf):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(notice.follow, container)
                await wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()

    assert (notice.said.is_set(), notice.status) == (False, "")


async def test_descriptors_that_come_along_are_not_kept() -> None:
    notice = SocketNotice("web")
    passing = SEND + (
        "    read_end, write_end = os.pipe()\n"
        "    socket.send_fds(notify, [b'BARRIER=1'], [write_end])\n"
        "    os.close(write_end)\n"
        "    os.read(read_end, 1)\n"  # ends once nobody has it open
        "    notify.send(b'READY=1')\n"
    )
    spec = ContainerSpec(
        [sys.executable, "-c", passing],
        rootfs="host",
        network="host",
        isolate=False,
        notify=NAME,
    )

    before = len(read_descriptors())
    with spawn(spec) as container:
        await follow_to_the_end(notice, container)

    assert (notice.good, len(read_descriptors())) == (True, before)


async def test_socket_is_left_to_its_container() -> None:
    notice = SocketNotice("web")
    before = len(read_descriptors())

    with spawn(send("READY=1", wait=False)) as container:
        await follow_until_said(notice, container)
        os.fstat(container.notify_fd)

    assert len(read_descriptors()) == before
