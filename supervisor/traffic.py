"""What all sinks share, and how much of it is each one's own.

Memory is bounded because each sink has a share of it, which is smaller where there are many, and
takes no more than that. No sink waits for another one: however slow that is, its share is all that
it can fill.
"""

from mocker.isolation.library import trim_heap

from .places import Places

# Bytes on their way to all sinks, not counting what is read at a time. Of many, each has too little
# to be fast with, and jobs of as many need the memory.
_FEW = 128
_TOGETHER, _TOGETHER_OF_MANY = 16 * 2**20, 8 * 2**20
_MOST_EACH = 2**20  # bytes: four chunks of a pipe that is full, or two as JSON
_LEAST_EACH = 2**12  # bytes; so from 2,000 sinks on, they are more together
_MOST_READ, _LEAST_READ = 2**18, 2**12
# Bytes after which the holes are given back that many sinks leave in the heap. A few sinks leave
# few, and would only have to get the same memory anew.
_TRIM_AFTER, _MANY_SINKS = 16 * 2**20, 16
# Bytes of all pipes that were made bigger, half of what all pipes of an ordinary user may have
# before each new one is small; and the most of one, as much as that user may ask for.
_PIPES_TOGETHER, _MOST_PIPE = 2**25, 2**20
_PARTS = 16  # of what is left: one pipe has no more than one of them
_PLACES = 16  # threads for targets that do not hang


class Traffic:
    """What all sinks share.

    Attributes:
        sinks: How many there are when all jobs run. By those that are open, the first of many would
            have too much before the last one comes.
        places: Threads to write in.
        buffer: Where whoever reads from a job has it first, until it waits for something.
    """

    def __init__(self) -> None:
        self.sinks = 1
        self.places = Places(_PLACES)
        self.buffer = bytearray(_MOST_READ)
        self._came = 0  # bytes since the heap was trimmed
        self._unlent = _PIPES_TOGETHER

    @property
    def share(self) -> int:
        """Bytes on their way to one sink, after which it takes no more."""
        together = _TOGETHER if self.sinks <= _FEW else _TOGETHER_OF_MANY
        return min(_MOST_EACH, max(_LEAST_EACH, together // max(self.sinks, 1)))

    @property
    def most_read(self) -> int:
        """Bytes that should be read at a time: as JSON, some two times as many."""
        return min(_MOST_READ, max(_LEAST_READ, self.share // 2))

    @property
    def has_many(self) -> bool:
        """Whether there are so many sinks that the holes which they leave in the heap count."""
        return self.sinks >= _MANY_SINKS

    def note(self, size: int) -> None:
        """Have so many bytes more that came."""
        self._came += size
        if self._came >= _TRIM_AFTER and self.has_many:
            self._came = 0
            trim_heap()

    def lend(self) -> int:
        """Return how many bytes one more pipe may have: the more have grown, the fewer.

        It is a power of two, as sizes of pipes are; all together never have more than there is.
        """
        part = self._unlent // _PARTS
        size = min(_MOST_PIPE, 1 << part.bit_length() >> 1)
        self._unlent -= size
        return size

    def give_back(self, size: int) -> None:
        """Have so many bytes, which were lent, for other pipes."""
        self._unlent += size
