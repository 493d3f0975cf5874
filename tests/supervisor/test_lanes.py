import trio
from trio.testing import wait_all_tasks_blocked

from mocker.supervisor.lanes import Lane, Lanes


def put(lanes: Lanes, job: str, *pieces: bytes) -> Lane:
    lane = lanes.find(job)
    lanes.put(lane, list(pieces), sum(map(len, pieces)))
    return lane


def take_all(lanes: Lanes) -> list[list[bytes]]:
    taken = []
    while lanes.has_pieces:
        taken.append(lanes.take()[1])
    return taken


def test_jobs_take_turns_and_each_stays_in_order() -> None:
    lanes = Lanes(2)
    put(lanes, "flood", b"1", b"2", b"3")
    put(lanes, "web", b"a")
    put(lanes, "flood", b"4", b"5")
    put(lanes, "db", b"x", b"y", b"z")

    taken = take_all(lanes)

    assert taken == [[b"1", b"2"], [b"a"], [b"x", b"y"], [b"3", b"4"], [b"z"], [b"5"]]


def test_who_comes_later_waits_for_one_portion_of_each_other_job() -> None:
    lanes = Lanes(2)
    put(lanes, "flood", *[b"1"] * 1000)
    lanes.take()
    put(lanes, "web", b"a")

    assert [lanes.take()[1] for _ in range(2)] == [[b"1", b"1"], [b"a"]]


def test_no_more_is_taken_once_there_are_so_many_bytes() -> None:
    lanes = Lanes(None)
    put(lanes, "web", b"123", b"456", b"789")

    assert [lanes.take(most)[1] for most in (4, None)] == [[b"123", b"456"], [b"789"]]
    assert not lanes.has_pieces


def test_what_is_put_back_comes_before_what_came_meanwhile() -> None:
    lanes = Lanes(2)
    put(lanes, "web", b"1", b"2")
    lane, pieces = lanes.take()
    put(lanes, "web", b"3")

    lanes.put_back(lane, pieces[1:])

    assert take_all(lanes) == [[b"2", b"3"]]


def test_nothing_is_put_back_when_all_was_written() -> None:
    lanes = Lanes(2)
    put(lanes, "web", b"1")
    lane, _ = lanes.take()

    lanes.put_back(lane, [])

    assert not lanes.has_pieces


def test_without_turns_everything_is_taken_in_the_order_in_which_it_came() -> None:
    lanes = Lanes(None)
    put(lanes, "web", b"1")
    put(lanes, "db", b"2")
    put(lanes, "web", b"3")

    assert take_all(lanes) == [[b"1", b"2", b"3"]]


def test_what_is_taken_is_on_its_way_until_that_is_settled() -> None:
    lanes = Lanes(2)
    lane = put(lanes, "web", b"one", b"two", b"three")
    was_waiting = [lane.waiting]

    lanes.take()
    was_waiting.append(lane.waiting)
    lane.settle(6)
    was_waiting.append(lane.waiting)

    assert was_waiting == [11, 11, 5]


async def test_whoever_waits_for_progress_is_told_of_each() -> None:
    lane = Lane()
    looks: list[int] = []

    async def watch() -> None:
        while not looks or looks[-1]:
            await lane.progress.wait()
            looks.append(lane.waiting)

    lane.taken = 5
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        for _ in range(5):
            await wait_all_tasks_blocked()
            lane.settle(1)

    assert looks == [4, 3, 2, 1, 0]
