"""What jobs print, for those who follow it as it comes.

Nothing is kept of a job that nobody follows. Of one that is followed, the last lines are kept once,
however many follow it, as they came: what a follower is to get is made of them when the first one
takes it, and the others get the same bytes. Each follower only has its place among them. So it
costs a job nothing more to have fifty followers than to have one, and one that takes nothing holds
up nobody and holds nothing: what is let go meanwhile it has lost, and it is told how many lines.
"""

import json
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from weakref import WeakValueDictionary

import attrs
import trio

from .line_formats import make_format
from .lines import Format, Lines, Source

_MOST = 2**20  # bytes that are kept of a job: what takes a disk's time to be written as well
_PIECE = 2**16  # bytes of what is made at a time
_OVERHEAD = 600  # bytes; twice what a batch takes, its text apart


class _Batch:
    """Lines of a feed.

    Attributes:
        lines: They.
        before: How many lines of the feed came before.
        count: How many these are.
    """

    __slots__ = ("_rendered", "before", "count", "lines")

    def __init__(self, lines: Lines, before: int) -> None:
        self.lines, self.before = lines, before
        self.count = lines.text.count(b"\n")
        self._rendered: bytes | None = None

    def render(self) -> bytes:
        """Return what each follower gets."""
        if self._rendered is None:
            self._rendered = render_lines(self.lines)
        return self._rendered


class Feed:
    """What one job prints."""

    __slots__ = (
        "__weakref__",
        "_places",
        "_size",
        "_waiting",
        "batches",
        "begin",
        "came",
        "job",
    )

    def __init__(self, job: str) -> None:
        """Make a feed of a job that nobody follows yet.

        Args:
            job: Its name.
        """
        self.job = job
        self.batches: deque[_Batch] = deque()
        self.begin = 0  # the number of the first batch that is kept
        self.came = 0  # lines
        self._size = 0  # bytes
        self._places: set[_Place] = set()
        self._waiting: set[Follower] = set()

    @property
    def end(self) -> int:
        """The number of the batch that will come next."""
        return self.begin + len(self.batches)

    def put(self, lines: Lines) -> None:
        """Have lines followed; never waits."""
        if not self._places:
            return
        for part in split_lines(lines):
            batch = _Batch(part, self.came)
            self.batches.append(batch)
            self.came += batch.count
            self._size += len(part.text) + _OVERHEAD
        while self._size > _MOST and len(self.batches) > 1:
            self.begin += 1
            self._size -= len(self.batches.popleft().lines.text) + _OVERHEAD
        if self._waiting:
            for follower in self._waiting:
                follower.wake()
            self._waiting.clear()

    def join(self) -> "_Place":
        """Return the place of somebody who follows from now on."""
        place = _Place(self, self.end, self.came)
        self._places.add(place)
        return place

    def leave(self, place: "_Place", follower: "Follower") -> None:
        """Forget a place."""
        self._places.discard(place)
        self._waiting.discard(follower)
        if not self._places:
            self.begin = self.end
            self.batches.clear()
            self._size = 0

    def expect(self, follower: "Follower") -> None:
        """Wake somebody at the next lines."""
        self._waiting.add(follower)


class _Place:
    """How far somebody is in a feed.

    Attributes:
        feed: Which.
    """

    __slots__ = ("_lines", "_number", "feed")

    def __init__(self, feed: Feed, number: int, lines: int) -> None:
        self.feed, self._number, self._lines = feed, number, lines

    @property
    def has_more(self) -> bool:
        """Whether there is something that was not taken."""
        return self._number < self.feed.end

    @property
    def time_ns(self) -> int:
        """When what is next came; there must be more."""
        return self._peek().lines.time_ns

    def take(self) -> bytes:
        """Return the next batch; before it, what was lost."""
        batch = self._peek()
        lost = batch.before - self._lines
        self._number = max(self._number, self.feed.begin) + 1
        self._lines = batch.before + batch.count
        if not lost:
            return batch.render()
        return _render_loss(self.feed.job, lost) + batch.render()

    def _peek(self) -> _Batch:
        return self.feed.batches[max(self._number - self.feed.begin, 0)]


class Follower:
    """Somebody who follows jobs.

    Attributes:
        wants: Whether the job of a name is to be followed.
        at_end: Whether nothing more will come.
    """

    def __init__(self, wants: Callable[[str], bool]) -> None:
        """Follow nothing yet.

        Args:
            wants: Whether the job of this name is to be followed.
        """
        self.wants = wants
        self.at_end = False
        self._places: dict[str, _Place] = {}  # by the name of the job
        self._arrival = trio.Event()

    @property
    def has_more(self) -> bool:
        """Whether there is something to take."""
        return any(place.has_more for place in self._places.values())

    def take(self, most: int = _PIECE) -> bytes:
        """Return what comes next, of all jobs in the order in which it came.

        Args:
            most: Bytes after which nothing more is taken.
        """
        parts, size = list[bytes](), 0
        ready = [place for place in self._places.values() if place.has_more]
        while ready and size < most:
            place = min(ready, key=lambda each: each.time_ns) if len(ready) > 1 else ready[0]
            parts.append(place.take())
            size += len(parts[-1])
            if not place.has_more:
                ready.remove(place)
        return b"".join(parts)

    async def wait(self) -> None:
        """Wait until there may be something to take."""
        self._arrival = trio.Event()
        for place in self._places.values():
            place.feed.expect(self)
        await self._arrival.wait()

    def wake(self) -> None:
        """Wait no longer."""
        self._arrival.set()

    def follow(self, feed: Feed) -> None:
        """Follow a job from now on, whatever was to be taken of it."""
        place = feed.join()
        if feed.job in self._places:
            feed.leave(self._places[feed.job], self)
        self._places[feed.job] = place
        self.wake()  # it waits for the others only

    def close(self) -> None:
        """Follow nothing any more."""
        for place in self._places.values():
            place.feed.leave(place, self)
        self._places.clear()


class Feeds:
    """What all jobs print."""

    def __init__(self) -> None:
        self._feeds: WeakValueDictionary[str, Feed] = WeakValueDictionary()
        self._followers: set[Follower] = set()
        self._at_end = False
        self._parted = trio.Event()

    def open(self, job: str) -> Feed:
        """Return the feed of a job; whoever wants it follows it."""
        feed = self._feeds.get(job)
        if feed is None:
            feed = self._feeds[job] = Feed(job)
            for follower in self._followers:
                if follower.wants(job):
                    follower.follow(feed)
        return feed

    def add(self, follower: Follower) -> None:
        """Let somebody follow the jobs that it wants, once they run."""
        follower.at_end = self._at_end
        self._followers.add(follower)
        for job, feed in list(self._feeds.items()):
            if follower.wants(job):
                follower.follow(feed)

    def remove(self, follower: Follower) -> None:
        """Let somebody follow nothing any more."""
        self._followers.discard(follower)
        follower.close()
        self._parted.set()

    def end(self) -> None:
        """Tell all who follow that nothing more will come."""
        self._at_end = True
        for follower in self._followers:
            follower.at_end = True
            follower.wake()

    async def wait_gone(self) -> None:
        """Wait until nobody follows any more."""
        while self._followers:
            self._parted = trio.Event()
            await self._parted.wait()


def render_lines(lines: Lines) -> bytes:
    """Return lines as a supervisor tells them, an object of JSON each."""
    return b"".join(_make_format(lines.source)(lines))


def split_lines(lines: Lines) -> list[Lines]:
    """Return the same lines in portions, so that a few of them need not wait for all."""
    text = lines.text
    if len(text) <= _PIECE or lines.partial:
        return [lines]
    parts, begin = list[Lines](), 0
    while begin < len(text):
        end = text.rfind(b"\n", begin, begin + _PIECE) + 1 or text.index(b"\n", begin) + 1
        continues = lines.continues and not begin
        parts.append(attrs.evolve(lines, text=text[begin:end], continues=continues))
        begin = end
    return parts


@lru_cache(256)
def _make_format(source: Source) -> Format:
    return make_format("told", source)


def _render_loss(job: str, count: int) -> bytes:
    return b'{"job":%s,"dropped":%d}\n' % (json.dumps(job).encode(), count)
