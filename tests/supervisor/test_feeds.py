import json

import trio
from trio.testing import wait_all_tasks_blocked

from mocker.supervisor.feeds import Feed, Feeds, Follower
from mocker.supervisor.lines import Lines, Source

WEB = Source("web", "stdout", 12, 1)
DB = Source("db", "stderr", 13, 4)
SECOND = 10**9  # nanoseconds


def put(feed: Feed, text: bytes, source: Source = WEB, time_ns: int = 0) -> None:
    feed.put(Lines(source, text, (), time_ns))


def follow(feeds: Feeds, *jobs: str) -> Follower:
    follower = Follower(lambda job: job in jobs)
    feeds.add(follower)
    for job in jobs:
        follower.follow(feeds.open(job))
    return follower


def parse(text: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def take_lines(follower: Follower) -> list[object]:
    """Return the lines that are there, and how many were lost as a number."""
    taken = list[dict[str, object]]()
    while follower.has_more:
        taken += parse(follower.take())
    return [each.get("line", each.get("dropped")) for each in taken]


def test_follower_gets_what_comes_from_then_on() -> None:
    feeds = Feeds()
    feed = feeds.open("web")
    put(feed, b"before\n")

    follower = follow(feeds, "web")
    put(feed, b"one\ntwo\n")

    assert take_lines(follower) == ["one", "two"]
    assert not follower.has_more


def test_line_is_told_with_where_it_is_from() -> None:
    feeds = Feeds()
    follower = follow(feeds, "db")

    put(feeds.open("db"), b"one\n", DB, 1_795_336_152 * SECOND)

    assert parse(follower.take()) == [
        {
            "time": "2026-11-22T08:29:12.000000Z",
            "job": "db",
            "channel": "stderr",
            "line": "one",
            "pid": 13,
            "attempt": 4,
        }
    ]


def test_all_followers_get_the_same_bytes() -> None:
    feeds = Feeds()
    first, second = follow(feeds, "web"), follow(feeds, "web")

    put(feeds.open("web"), b"one\n")

    assert first._places["web"].take() is second._places["web"].take()


def test_nothing_is_kept_of_a_job_that_nobody_follows() -> None:
    feeds = Feeds()
    feed = feeds.open("web")
    put(feed, b"one\n")
    follower = follow(feeds, "web")
    put(feed, b"two\n")

    feeds.remove(follower)
    put(feed, b"three\n")

    assert not feed.batches


def test_follower_that_takes_nothing_is_told_how_many_lines_it_lost() -> None:
    feeds = Feeds()
    feed = feeds.open("web")
    follower = follow(feeds, "web")

    for number in range(5000):
        put(feed, b"%04d" % number + b"x" * 1000 + b"\n")

    lost, *lines = take_lines(follower)
    assert isinstance(lost, int)
    assert lost + len(lines) == 5000
    assert [str(line)[:4] for line in lines] == [f"{number:04}" for number in range(lost, 5000)]


def test_memory_of_a_feed_is_bounded() -> None:
    feeds = Feeds()
    feed = feeds.open("web")
    follower = follow(feeds, "web")

    for _ in range(100):
        put(feed, b"\n" * 200_000)
    for _ in range(10_000):
        put(feed, b"\n")

    assert sum(len(batch.lines.text) for batch in feed.batches) <= 2**20
    assert len(feed.batches) < 2000
    feeds.remove(follower)


def test_one_that_lost_lines_costs_another_none() -> None:
    feeds = Feeds()
    feed = feeds.open("web")
    slow, quick = follow(feeds, "web"), follow(feeds, "web")
    lines = list[object]()

    for _ in range(20):
        put(feed, b"x" * 99_999 + b"\n")
        lines += take_lines(quick)

    assert lines == ["x" * 99_999] * 20
    assert isinstance(take_lines(slow)[0], int)


def test_lines_of_several_jobs_come_in_the_order_of_time() -> None:
    feeds = Feeds()
    follower = follow(feeds, "web", "db")

    put(feeds.open("web"), b"1\n", WEB, 1)
    put(feeds.open("db"), b"2\n", DB, 2)
    put(feeds.open("web"), b"3\n", WEB, 3)

    assert take_lines(follower) == ["1", "2", "3"]


def test_more_than_can_be_sent_at_a_time_is_taken_in_portions() -> None:
    feeds = Feeds()
    follower = follow(feeds, "web")
    put(feeds.open("web"), b"".join(b"%d\n" % number for number in range(60_000)))

    portion = follower.take()

    assert len(parse(portion)) < 30_000
    assert len(parse(portion)) + len(take_lines(follower)) == 60_000


def test_pieces_of_a_line_are_marked() -> None:
    feeds = Feeds()
    follower = follow(feeds, "web")

    feeds.open("web").put(Lines(WEB, b"1\nbegin\n", (1,), 0))
    feeds.open("web").put(Lines(WEB, b"end\n", (), 0, continues=True))

    told = parse(follower.take())
    assert [(each["line"], each.get("partial")) for each in told] == [
        ("1", None),
        ("begin", True),
        ("end", None),
    ]


def test_next_run_of_a_job_is_followed_too() -> None:
    feeds = Feeds()
    follower = follow(feeds, "web")
    put(feeds.open("web"), b"first\n")

    put(feeds.open("web"), b"second\n", Source("web", "stdout", 14, 2))

    assert take_lines(follower) == ["first", "second"]


def test_job_that_comes_later_is_followed_by_who_wants_it() -> None:
    feeds = Feeds()
    follower = Follower(lambda job: job.startswith("web"))
    feeds.add(follower)

    feed, other = feeds.open("web-2"), feeds.open("db")
    put(feed, b"new\n")
    put(other, b"other\n")

    assert take_lines(follower) == ["new"]


async def test_who_waits_is_woken_by_a_line() -> None:
    feeds = Feeds()
    follower = follow(feeds, "web", "db")
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follower.wait)
            await wait_all_tasks_blocked()

            put(feeds.open("db"), b"one\n", DB)

    assert take_lines(follower) == ["one"]


async def test_who_waits_is_woken_by_a_new_job() -> None:
    feeds = Feeds()
    follower = Follower(lambda _: True)
    feeds.add(follower)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follower.wait)
            await wait_all_tasks_blocked()

            feed = feeds.open("web")
    put(feed, b"one\n")

    assert take_lines(follower) == ["one"]


async def test_who_waits_is_woken_by_the_end() -> None:
    feeds = Feeds()
    follower = follow(feeds, "web")
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follower.wait)
            await wait_all_tasks_blocked()

            feeds.end()

    assert follower.at_end


async def test_end_can_be_waited_for_until_the_last_one_is_gone() -> None:
    feeds = Feeds()
    first, second = follow(feeds, "web"), follow(feeds, "web")
    is_over = trio.Event()

    async def wait() -> None:
        await feeds.wait_gone()
        is_over.set()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            feeds.remove(first)
            await wait_all_tasks_blocked()
            was_over = is_over.is_set()
            feeds.remove(second)

    assert (was_over, is_over.is_set()) == (False, True)


def test_job_that_is_followed_anew_is_followed_from_then_on() -> None:
    feeds = Feeds()
    follower = follow(feeds, "web")
    put(feeds.open("web"), b"1\n")

    follower.follow(feeds.open("web"))
    put(feeds.open("web"), b"2\n")

    assert take_lines(follower) == ["2"]


def test_job_that_runs_already_is_followed_by_who_wants_it() -> None:
    feeds = Feeds()
    feed = feeds.open("web")
    follower = Follower(lambda _: True)

    feeds.add(follower)
    put(feed, b"1\n")

    assert take_lines(follower) == ["1"]


def test_who_comes_after_the_end_is_told_so() -> None:
    feeds = Feeds()
    feeds.end()

    assert follow(feeds, "web").at_end
