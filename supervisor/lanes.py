"""What is on its way to one target, in a lane for each job, and whose turn it is.

One job that has much to say must not keep the others waiting. So the lanes take turns, a portion
each, and within a lane everything stays in order.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator

import trio


class Lane:
    """What one job has on its way.

    Attributes:
        pieces: What waits for its turn, in order; not what is being written.
        taken: Bytes that came, of all times.
        gone: Of these, those that are no longer on their way.
        turn: Of those who wait for room: first come, first served.
        progress: Is set when something has changed; another one is in its place then.
    """

    def __init__(self) -> None:
        self.pieces: deque[bytes] = deque()
        self.taken = self.gone = 0
        self.turn = trio.Lock()
        self.progress = trio.Event()

    @property
    def waiting(self) -> int:
        """Bytes that are on their way."""
        return self.taken - self.gone

    def settle(self, size: int) -> None:
        """Have so many bytes no longer on their way."""
        self.gone += size
        self.tell()

    def tell(self) -> None:
        """Let those who wait have another look."""
        self.progress.set()
        self.progress = trio.Event()


class Lanes:
    """The lanes of one target."""

    def __init__(self, portion: int | None) -> None:
        """Make none yet.

        Args:
            portion: Pieces that a lane has written before it is another one's turn. None: there is
                one lane for all jobs, so that everything stays in order.
        """
        self._portion = portion
        self._lanes: dict[str, Lane] = {}
        self._queue: OrderedDict[Lane, None] = OrderedDict()  # those with pieces

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    @property
    def has_pieces(self) -> bool:
        """Whether there is something to take."""
        return bool(self._queue)

    def find(self, job: str) -> Lane:
        """Return the lane of a job."""
        name = "" if self._portion is None else job
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane()
        return lane

    def put(self, lane: Lane, pieces: list[bytes], size: int) -> None:
        """Add pieces of so many bytes at the end of a lane."""
        lane.pieces.extend(pieces)
        lane.taken += size
        self._queue.setdefault(lane)

    def take(self, most: int | None = None) -> tuple[Lane, list[bytes]]:
        """Remove a portion of the lane whose turn it is; there must be one.

        Args:
            most: Bytes after which nothing more is taken; None for no limit.
        """
        lane, _ = self._queue.popitem(last=False)
        pieces = lane.pieces
        if most is None and (self._portion is None or len(pieces) <= self._portion):
            portion = list(pieces)
            pieces.clear()
            return lane, portion
        portion, size = list[bytes](), 0
        while pieces and len(portion) != self._portion and (most is None or size < most):
            portion.append(pieces.popleft())
            size += len(portion[-1])
        if pieces:
            self._queue[lane] = None
        return lane, portion

    def put_back(self, lane: Lane, pieces: list[bytes]) -> None:
        """Have pieces, or what is left of one, in front of a lane again."""
        if pieces:
            lane.pieces.extendleft(reversed(pieces))
            self._queue.setdefault(lane)
