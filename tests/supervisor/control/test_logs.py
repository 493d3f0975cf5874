import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from tests.requirements import requires_busybox, requires_user_namespaces
from tests.supervisor.control.served import Served, make_served

pytestmark = [requires_user_namespaces, requires_busybox]

SECOND = 10**9  # nanoseconds


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with make_served(tmp_path, "web-1", "web-2", "db") as served:
        yield served


async def ask(served: Served, *query: tuple[str, str]) -> list[object]:
    """Return the lines that are answered."""
    async with served.serve(), served.ask("/v1/logs", *query) as asked:
        status, told = await asked.read_all()
    assert status == 200
    return [each["line"] for each in told]


async def refuse(served: Served, *query: tuple[str, str]) -> tuple[int, object]:
    """Return the status of HTTP, and the code of the error."""
    async with served.serve(), served.ask("/v1/logs", *query) as asked:
        status, (answer,) = await asked.read_all()
    error = answer["error"]
    assert isinstance(error, dict)
    return status, error["code"]


async def test_last_lines_of_all_jobs_are_told_in_order(served: Served) -> None:
    served.print("web-1", b"1\n", 1)
    served.print("db", b"2\n", 2)
    served.print("web-2", b"3\n", 3)

    assert await ask(served) == ["1", "2", "3"]


async def test_jobs_are_chosen_by_name_and_pattern(served: Served) -> None:
    for name in ("web-1", "web-2", "db"):
        served.print(name, name.encode() + b"\n")

    assert await ask(served, ("job", "web-*"), ("job", "db")) == ["web-1", "web-2", "db"]


async def test_last_few_lines_are_told(served: Served) -> None:
    served.print("db", b"1\n2\n3\n")

    assert await ask(served, ("n", "2")) == ["2", "3"]


async def test_lines_of_the_last_seconds_are_told(served: Served) -> None:
    now = time.time_ns()
    served.print("db", b"old\n", now - 60 * SECOND)
    served.print("db", b"new\n", now - 1 * SECOND)

    assert await ask(served, ("since_s", "30")) == ["new"]


async def test_bytes_come_back_as_they_were_printed(served: Served) -> None:
    served.print("db", b"\xff\0\x1b[1m\n")

    (line,) = await ask(served)

    assert str(line).encode(errors="surrogateescape") == b"\xff\0\x1b[1m"


async def test_jobs_that_have_said_nothing_answer_nothing(served: Served) -> None:
    assert await ask(served) == []


@pytest.mark.parametrize(
    "query", [("n", "-1"), ("since_s", "nan"), ("follow", "maybe"), ("tail", "1")]
)
async def test_what_cannot_be_meant_is_refused(served: Served, query: tuple[str, str]) -> None:
    assert await refuse(served, query) == (400, "bad-request")


async def test_unknown_job_is_refused(served: Served) -> None:
    assert await refuse(served, ("job", "web")) == (404, "no-such-job")


async def test_lines_that_come_are_told(served: Served) -> None:
    served.print("db", b"1\n")
    query = [("follow", "1"), ("job", "db")]

    async with served.serve(), served.ask("/v1/logs", *query) as asked:
        before = await asked.read(1)
        served.print("web-1", b"of another\n")
        served.print("db", b"2\n3\n")
        after = await asked.read(2)

    assert [each["line"] for each in before + after] == ["1", "2", "3"]


async def test_job_that_is_added_is_followed_where_the_pattern_means_it(served: Served) -> None:
    served.print("web-1", b"1\n")
    query = [("follow", "1"), ("job", "web-*")]

    async with served.serve(), served.ask("/v1/logs", *query) as asked:
        await asked.read(1)
        served.add("web-3")
        served.print("web-3", b"2\n")
        (told,) = await asked.read(1)

    assert (told["job"], told["line"]) == ("web-3", "2")


async def test_answer_ends_with_the_supervisor(served: Served) -> None:
    served.print("db", b"1\n")

    async with served.serve(), served.ask("/v1/logs", ("follow", "1")) as asked:
        await asked.read(1)
        served.print("db", b"last\n")
        served.supervisor.feeds.end()
        status, told = await asked.read_all()

    assert (status, [each["line"] for each in told]) == (200, ["last"])


async def test_one_that_goes_away_leaves_nothing(served: Served) -> None:
    served.print("db", b"1\n")

    async with served.serve():
        async with served.ask("/v1/logs", ("follow", "1")) as asked:
            await asked.read(1)
        await served.wait_idle()
        served.print("db", b"2\n")

        assert not served.supervisor.feeds.open("db").batches


async def test_one_that_takes_nothing_loses_lines_and_is_told_so(served: Served) -> None:
    served.print("db", b"first\n")
    query = [("follow", "1"), ("n", "1")]

    async with served.serve(), served.ask("/v1/logs", *query) as asked:
        await asked.read(1)
        for number in range(5000):
            served.print("db", b"%d " % number + b"x" * 1000 + b"\n")
            if not number % 100:
                await trio.lowlevel.checkpoint()
        served.supervisor.feeds.end()
        _, told = await asked.read_all()

    lost = sum(int(str(each["dropped"])) for each in told if "dropped" in each)
    lines = [each for each in told if "line" in each]
    assert lost > 0
    assert lost + len(lines) == 5000
    assert str(lines[-1]["line"]).startswith("4999 ")


async def test_last_lines_are_forgotten_when_asked(served: Served) -> None:
    for name in ("web-1", "db"):
        served.print(name, name.encode() + b"\n")
    body = {"jobs": ["web-*"]}

    async with served.serve():
        async with served.ask("/v1/logs/truncate", method="POST", body=body) as asked:
            answer = await asked.read_all()
        async with served.ask("/v1/logs") as asked:
            _, left = await asked.read_all()

    assert answer == (200, [{"jobs": ["web-1", "web-2"]}])
    assert [each["line"] for each in left] == ["db"]


async def test_nothing_is_forgotten_by_mistake(served: Served) -> None:
    served.print("db", b"1\n")

    async with served.serve(), served.ask("/v1/logs/truncate", method="POST") as asked:
        status, _ = await asked.read_all()

    assert (status, served.supervisor.jobs["db"].ring.list_last()) == (400, [b"1"])


async def test_those_who_take_nothing_leave_no_room_for_more(served: Served) -> None:
    served.print("db", (b"x" * 1000 + b"\n") * 1000)
    async with served.serve(), AsyncExitStack() as stack:
        for _ in range(100):
            await stack.enter_async_context(served.ask("/v1/logs"))
        asked = await stack.enter_async_context(served.ask("/v1/logs"))

        _, told = await asked.read_all()

    assert told[-1]["error"] == {
        "code": "busy",
        "message": "too many others have asked and take nothing",
    }
