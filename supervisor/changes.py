"""What becomes of jobs, for those who follow it: how all of them are now, then each change once.

A change is what somebody can see: of two states that look the same the second one is not told.
Nobody waits for who follows; one that is behind by too much gets no more but a word about that.
"""

import json
import time
from collections import deque
from collections.abc import Mapping

import trio

from .jobs import Job
from .lifecycle import State
from .line_formats import render_time

_MOST = 10_000  # changes that somebody may be behind: a few for each of some thousand jobs
_PIECE = 2**16  # bytes
_WITH_EXIT = frozenset({State.STOPPED, State.BACKOFF, State.EXITED, State.FATAL})
_TOO_SLOW = (
    b'{"error":{"code":"too-slow","message":"too many changes were not taken; begin anew"}}\n'
)

_View = dict[str, object]


class Watcher:
    """Somebody who follows the changes.

    Attributes:
        at_end: Whether nothing more will come.
    """

    def __init__(self) -> None:
        self.at_end = False
        self._texts: deque[bytes] = deque()
        self._arrival = trio.Event()

    @property
    def has_more(self) -> bool:
        """Whether there is something to take."""
        return bool(self._texts)

    def put(self, text: bytes) -> None:
        """Have one more to take, or nothing but the word that they were too many."""
        if self.at_end:
            return
        if len(self._texts) >= _MOST:
            self._texts.clear()
            text = _TOO_SLOW
            self.at_end = True
        self._texts.append(text)
        self._arrival.set()

    def take(self, most: int = _PIECE) -> bytes:
        """Return what comes next.

        Args:
            most: Bytes after which nothing more is taken.
        """
        parts, size = list[bytes](), 0
        while self._texts and size < most:
            parts.append(self._texts.popleft())
            size += len(parts[-1])
        return b"".join(parts)

    async def wait(self) -> None:
        """Wait until there may be something to take."""
        self._arrival = trio.Event()
        await self._arrival.wait()

    def end(self) -> None:
        """Have nothing more to come."""
        self.at_end = True
        self._arrival.set()


class Changes:
    """The changes of all jobs.

    Attributes:
        news: Set when something becomes of some job; then there is a new one.
    """

    def __init__(self, jobs: Mapping[str, Job]) -> None:
        """Make what nobody follows yet.

        Args:
            jobs: Those that there are, by name.
        """
        self.news = trio.Event()
        self._jobs = jobs
        self._watchers: set[Watcher] = set()
        self._at_end = False
        self._parted = trio.Event()
        self._told: dict[str, _View] = {}  # as whoever follows knows them

    def add(self, watcher: Watcher) -> None:
        """Let somebody know how all jobs are, and then each change."""
        if not self._watchers:
            self._told = {name: _view(job) for name, job in self._jobs.items()}
        now = time.time_ns()
        texts = [_render("snapshot", now, name, view) for name, view in self._told.items()]
        watcher.put(b"".join(texts))
        self._watchers.add(watcher)
        if self._at_end:
            watcher.end()

    def remove(self, watcher: Watcher) -> None:
        """Let somebody know no more."""
        self._watchers.discard(watcher)
        self._parted.set()

    def tell(self, job: Job) -> None:
        """Tell how a job is, if that is new."""
        self._spread()
        if not self._watchers:
            return
        name, view = job.config.name, _view(job)
        if self._told.get(name) != view:
            self._told[name] = view
            self._put(_render("change", time.time_ns(), name, view))

    def tell_removed(self, name: str) -> None:
        """Tell that there is no job of this name any more."""
        self._spread()
        if self._told.pop(name, None) is not None:
            self._put(_render("removal", time.time_ns(), name, {}))

    def end(self) -> None:
        """Tell all who follow that nothing more will come."""
        self._at_end = True
        for watcher in self._watchers:
            watcher.end()

    async def wait_gone(self) -> None:
        """Wait until nobody follows any more."""
        while self._watchers:
            self._parted = trio.Event()
            await self._parted.wait()

    def _spread(self) -> None:
        self.news.set()
        self.news = trio.Event()

    def _put(self, text: bytes) -> None:
        for watcher in self._watchers:
            watcher.put(text)


def _view(job: Job) -> _View:
    """Return what is told of a job."""
    life = job.life
    has_ended = life.state in _WITH_EXIT and life.attempt > 0 and job.status is not None
    return {
        "state": life.state.value,
        "reason": life.reason,
        "pid": job.pid,
        "attempt": life.attempt,
        "paused": job.is_paused,
        "exit": str(job.status) if has_ended else None,
        "oom_killed": has_ended and job.reports.oom_killed,
    }


def _render(kind: str, time_ns: int, name: str, view: _View) -> bytes:
    facts = {"time": render_time(time_ns), "event": kind, "job": name, **view}
    return json.dumps(facts, separators=(",", ":")).encode() + b"\n"
