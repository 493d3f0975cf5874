import errno
import math
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from mocker.isolation import Container, spawn
from mocker.supervisor.config import JobConfig, Probe
from mocker.supervisor.notices import LogNotice, Notice
from mocker.supervisor.probes import Answer, ask, describe, wait_dead, wait_ready
from tests.containers import in_container
from tests.supervisor.job_world import configure
from tests.supervisor.probe_world import PORT, SLEEP, Serve, answer_with, serving

URL = f"http://127.0.0.1:{PORT}/"
# Without a limit: the test's clock would jump there while the kernel is at work.
HTTP = Probe(kind="http", target=URL, interval=100, timeout=math.inf, failures=3)


def answer_in_turn(*statuses: int) -> Serve:
    """Return what answers each request with the next status, and then with the last one."""
    left = list(statuses)

    async def serve(stream: trio.SocketStream) -> None:
        status = left.pop(0) if len(left) > 1 else left[0]
        await answer_with(b"HTTP/1.1 %d X\r\n\r\n" % status)(stream)

    return serve


async def wait_until_dead(job: JobConfig, container: Container) -> tuple[str, list[str]]:
    """Return why a job counts as dead, and the events until then."""
    assert job.alive is not None
    with capture_logs() as events:
        reason = await wait_dead(job, job.alive, container)
    return reason, [event["event"] for event in events]


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Let no descriptor be free for the length of a block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("probe", "text"),
    [
        (Probe(kind="tcp", target=8080), "port 8080"),
        (Probe(kind="http", target="http://[::1]/a?b"), "GET http://[::1]/a?b"),
        (Probe(kind="exec", target=("test", "-e", "/a b")), "test -e '/a b'"),
        (Probe(kind="exec", target=("x" * 200,)), "x" * 100 + "…"),
    ],
)
def test_question_is_told_in_one_line(probe: Probe, text: str) -> None:
    assert describe(probe) == text


# One question


@in_container
@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        (Probe(kind="tcp", target=PORT), ""),
        (Probe(kind="tcp", target=9), "port 9: connection refused"),
        (Probe(kind="http", target=URL), f"GET {URL}: 500"),
        (Probe(kind="exec", target=("true",)), ""),
        (Probe(kind="exec", target=("false",)), "false: exit code 1"),
    ],
)
async def test_answer_says_what_was_asked(probe: Probe, reason: str) -> None:
    with spawn(SLEEP) as container:
        async with serving(container, answer_in_turn(500)):
            assert await ask(probe, container) == Answer(reason)


@in_container
@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        (
            Probe(kind="http", target=URL, timeout=0.25),
            f"GET {URL}: no answer within 0.25 s",
        ),
        (
            Probe(kind="exec", target=("sleep", "1000"), timeout=0.25),
            "sleep 1000: no answer within 0.25 s",
        ),
    ],
)
async def test_answer_that_takes_too_long_is_a_bad_one(
    probe: Probe, reason: str, autojump_clock: MockClock
) -> None:
    async def say_nothing(stream: trio.SocketStream) -> None:
        async with stream:
            await trio.sleep_forever()

    with spawn(SLEEP) as container:
        async with serving(container, say_nothing):
            assert await ask(probe, container) == Answer(reason)


@in_container
@pytest.mark.parametrize(
    "probe", [Probe(kind="tcp", target=PORT), HTTP, Probe(kind="exec", target=("true",))]
)
async def test_question_that_cannot_be_put_does_not_count(probe: Probe) -> None:
    with spawn(SLEEP) as container:
        with no_descriptors():
            answer = await ask(probe, container)
        after = await ask(Probe(kind="exec", target=("true",)), container)

    assert (answer.counts, os.strerror(errno.EMFILE) in answer.reason) == (False, True)
    assert after == Answer("")


@in_container
async def test_question_that_nobody_can_be_started_for_does_not_count() -> None:
    with spawn(SLEEP) as container:
        resource.prlimit(container.pid, resource.RLIMIT_NPROC, (1, 1))

        answer = await ask(Probe(kind="exec", target=("true",)), container)

    assert (answer.counts, os.strerror(errno.EAGAIN) in answer.reason) == (False, True)


@in_container
async def test_container_that_is_gone_is_a_bad_answer() -> None:
    with spawn(SLEEP) as container:
        container.kill()
        container.wait()

        answer = await ask(Probe(kind="tcp", target=PORT), container)

    assert answer.reason.startswith("port 8080: cannot ask the container's init")


# Readiness


@in_container
async def test_job_is_asked_again_until_the_answer_is_good(autojump_clock: MockClock) -> None:
    job = configure("", ready=HTTP)

    with spawn(SLEEP) as container:
        async with serving(container, answer_in_turn(500, 404, 200)):
            reason = await wait_ready(job, container, Notice())

    assert reason == ""
    assert trio.current_time() == pytest.approx(200, abs=2)


@in_container
async def test_job_that_is_not_ready_in_time_has_its_last_answer_as_the_reason() -> None:
    probe = Probe(kind="tcp", target=9, interval=0.001)
    job = configure("", ready=probe, start_timeout=0.5)

    with spawn(SLEEP) as container:
        reason = await wait_ready(job, container, Notice())

    assert reason == "not ready after 0.5 s; port 9: connection refused"


@in_container
async def test_job_that_is_not_asked_is_ready_when_it_says_so() -> None:
    job = configure("", ready=Probe(kind="log", target="up"))
    notice = LogNotice("up", "web")
    answers = []

    with spawn(SLEEP) as container:
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                answers.append(await wait_ready(job, container, notice))

            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            before = list(answers)
            assert notice.see is not None
            notice.see(b"up")

    assert (before, answers) == ([], [""])


@in_container
async def test_job_that_says_nothing_is_not_ready_in_time(autojump_clock: MockClock) -> None:
    job = configure("", ready=Probe(kind="log", target="up"), start_timeout=60.0)

    with spawn(SLEEP) as container:
        reason = await wait_ready(job, container, LogNotice("up", "web"))

    assert reason == "not ready after 60 s"


@in_container
async def test_refusal_is_the_reason() -> None:
    job = configure("", ready=Probe(kind="fd", target=3))
    notice = Notice()
    notice.refusal = "closed descriptor 3"
    notice.said.set()

    with spawn(SLEEP) as container:
        assert await wait_ready(job, container, notice) == "closed descriptor 3"


# Liveness


@in_container
async def test_bad_answers_in_a_row_are_counted(autojump_clock: MockClock) -> None:
    job = configure("", alive=HTTP, ready=HTTP)

    with spawn(SLEEP) as container:
        async with serving(container, answer_in_turn(200, 500, 501, 503)):
            reason, events = await wait_until_dead(job, container)

    assert reason == f"3 of 3 answers were bad: GET {URL}: 503"
    assert events == ["job.unhealthy"]
    assert trio.current_time() == pytest.approx(300, abs=2)


@in_container
async def test_one_good_answer_starts_the_count_anew(autojump_clock: MockClock) -> None:
    job = configure("", alive=HTTP, ready=HTTP)

    with spawn(SLEEP) as container:
        async with serving(container, answer_in_turn(500, 500, 200, 500, 500, 500)):
            reason, events = await wait_until_dead(job, container)

    assert reason.startswith("3 of 3 ")
    assert events == ["job.unhealthy", "job.healthy", "job.unhealthy"]
    assert trio.current_time() == pytest.approx(500, abs=2)


@in_container
async def test_job_that_nobody_asks_for_readiness_is_left_alone_at_first(
    autojump_clock: MockClock,
) -> None:
    job = configure(
        "", alive=Probe(kind="tcp", target=9, interval=60, timeout=math.inf, failures=1)
    )

    with spawn(SLEEP) as container:
        reason, _ = await wait_until_dead(job, container)

    assert reason == "1 of 1 answers were bad: port 9: connection refused"
    assert trio.current_time() == 60


@in_container
async def test_what_could_not_be_asked_is_told_once_and_not_counted(
    autojump_clock: MockClock,
) -> None:
    job = configure("", alive=HTTP, ready=HTTP)

    with spawn(SLEEP) as container, capture_logs() as events, no_descriptors():
        with trio.move_on_after(1050) as limit:
            await wait_dead(job, HTTP, container)

    assert limit.cancelled_caught
    assert [event["event"] for event in events] == ["job.not_asked"]
