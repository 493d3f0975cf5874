"""Calls as parts of a tape, which is laid out in `memory` and walked there.

A tape has groups of calls, each walked by itself, and a group has segments. Those that are
the same for one container after the other are laid out once; so is a whole tape, for a container
that is made again.
"""

from _collections_abc import Callable, Hashable, Iterable, Sequence
from struct import pack

from .memory import (
    ARGUMENTS,
    AT_ZERO,
    HEAD,
    NEXT,
    NOWHERE,
    NUMBER,
    RECORD,
    TAPE,
    WORD,
    Action,
    Buffer,
    Cell,
    address_of,
    in_use,
    place_of,
    read_memory,
    read_word,
    set_word,
    walk,
    write_words,
)

_RECORD = RECORD.size // WORD  # words
_MOST_KEPT = 100  # kinds of containers, and segments of some ten calls each
# Tapes of some 5 KiB each; segments of one call or a few, of which a container has about five.
_MOST_TAPES, _MOST_OWN = 1000, 5000
_MOST_TEXT = 2**13  # bytes of a segment's texts; a command may have megabytes of them

# A tuple is memory with a word for each: a number or the address of a text, and at last zero.
Argument = int | bytes | tuple[int | bytes, ...] | Cell | Buffer | Action
# What is called, with what, the least that it returns if all is well, the errors that are as good
# (a few, a byte each), and where the result goes.
Call = tuple[int, tuple[Argument, ...], int, int, Cell | None]
# A list is for one container; a plain tuple serves one after the other, and is laid out once.
Segment = tuple[Call, ...] | list[Call]


class Own(tuple[Call, ...]):
    """A segment of one container's own, which may be made again, such as at a restart."""

    __slots__ = ()


_prepared: dict[tuple[object, ...], tuple[Call, ...]] = {}
_prepared_own: dict[tuple[object, ...], Own] = {}


def keep(prepare: Callable[..., Iterable[Call]], *arguments: Hashable) -> tuple[Call, ...]:
    """Return the segment that a function prepares from these arguments, now or before.

    Whatever else it depends on must stay the same for as long as the process lives.
    """
    key = prepare, *arguments
    if key not in _prepared:
        if len(_prepared) == _MOST_KEPT:
            _prepared.clear()
        _prepared[key] = tuple(prepare(*arguments))
    return _prepared[key]


def keep_own(prepare: Callable[..., Iterable[Call]], *arguments: Hashable) -> Segment:
    """Return the same for one container, unless it has too much text to be kept: then a list."""
    key = prepare, *arguments
    if key in _prepared_own:
        return _prepared_own[key]
    segment = Own(prepare(*arguments))
    if _count_text(segment) > _MOST_TEXT:
        return list(segment)
    if len(_prepared_own) == _MOST_OWN:
        del _prepared_own[next(iter(_prepared_own))]  # the oldest
    _prepared_own[key] = segment
    return segment


def _count_text(segment: Segment) -> int:
    """Return how many bytes of text there are about, each text once."""
    return sum(map(_measure, {a for _, given, *_ in segment for a in given}))


def _measure(argument: object) -> int:
    if isinstance(argument, Action):
        argument = argument.arguments
    if isinstance(argument, tuple):
        return sum(map(_measure, argument))
    return len(argument) if isinstance(argument, str | bytes) else 0


def perform(calls: Iterable[Call]) -> None:
    """Make calls in their order.

    Raises:
        OSError: One failed; those after it were not made.
    """
    start, known = in_use.end, len(in_use.actions)
    layout = _Layout(start, known)
    begin, end = layout.add(list(calls))
    in_use.end = write_words(start, layout.render())
    in_use.actions += layout.actions
    try:
        walk(begin if begin < end else 0)
    finally:
        layout.read_back()
        in_use.end = start
        del in_use.actions[known:]


class Tape:
    """Groups of calls, laid out from `TAPE` on.

    Attributes:
        kept: The bytes that are the same for one container after the other.
        tail: Those that follow.
        numbers: The words that differ from both, by where they are on the tape.
        segments: Where the records of each segment of the first group begin and end.
        ends: Where those of each group end.
        actions: What its records call that is not a function of the C library.
    """

    __slots__ = ("actions", "ends", "kept", "numbers", "segments", "tail")

    def __init__(self, kept: bytes, actions: list[Action]) -> None:
        self.kept, self.actions = kept, actions
        self.tail, self.numbers = bytearray(), dict[int, int]()
        self.segments, self.ends = list[tuple[int, int]](), dict[int, int]()

    @property
    def size(self) -> int:
        """How many words it has."""
        return (len(self.kept) + len(self.tail)) // WORD

    def copy(self) -> "Tape":
        """Return one to which something can be added."""
        tape = Tape(self.kept, self.actions)
        tape.tail += self.tail
        tape.numbers |= self.numbers
        tape.segments, tape.ends = self.segments, self.ends
        return tape

    def render(self) -> bytearray:
        """Return all of it."""
        content = bytearray(self.kept) + self.tail
        for place, number in self.numbers.items():
            NUMBER.pack_into(content, place * WORD, number)
        return content

    def set_head(self, index: int, number: int) -> None:
        """Set a word of the head; the first ones are where the groups start, see `read_head`."""
        self.numbers[index] = number

    def set_group(self, number: int, places: list[tuple[int, int]]) -> None:
        """Let each segment go on where the next one begins, and the last one end."""
        self.set_head(number, places[0][0] if places else 0)
        self.segments = self.segments or places
        if places:
            self.ends[number] = places[-1][1]
        for index, (_, end) in enumerate(places):
            following = places[index + 1][0] if index + 1 < len(places) else 0
            self.numbers[end - TAPE - _RECORD + NEXT] = following

    def join(self, group: int, following: int | None = None, at_zero: int | None = None) -> None:
        """Let a group go on with another one, with a third one if its last call returns zero."""
        last = self.ends[group] - TAPE - _RECORD
        if following is not None:
            self.numbers[last + NEXT] = self.numbers[following]
        if at_zero is not None:
            self.numbers[last + AT_ZERO] = TAPE + at_zero


class _Kept:
    """The segments of one kind of container that serve one after the other."""

    __slots__ = ("actions", "content", "places", "tuples")

    def __init__(self, groups: Sequence[Sequence[Segment]]) -> None:
        # Held, so that nothing else gets the identity of one of them.
        self.tuples = [calls for group in groups for calls in group if _is_kept(calls)]
        layout = _Layout(TAPE + HEAD, 0)
        self.places = {id(calls): layout.add(calls) for calls in self.tuples}
        self.content, self.actions = bytes(HEAD * WORD) + layout.render(), layout.actions


_kept: dict[tuple[tuple[int, ...], ...], _Kept] = {}
# And the segments of each, held as well.
_tapes: dict[tuple[tuple[int, ...], ...], tuple[Tape, list[Segment]]] = {}


def make_tape(groups: Sequence[Sequence[Segment]]) -> Tape:
    """Lay out groups of segments, none of them empty, and no tuple twice.

    Raises:
        ValueError: There is such a segment.
    """
    whole = tuple(tuple(map(id, group)) for group in groups)
    if whole in _tapes:
        return _tapes[whole][0].copy()
    segments = [calls for group in groups for calls in group]
    tuples = [id(calls) for calls in segments if _is_kept(calls)]
    if not all(segments) or len(tuples) != len(set(tuples)):
        raise ValueError("a segment is empty, or twice on one tape")
    tape = _lay_out(groups)
    if not any(isinstance(calls, list) for calls in segments):
        if len(_tapes) == _MOST_TAPES:
            del _tapes[next(iter(_tapes))]  # the oldest
        _tapes[whole] = tape.copy(), segments
    return tape


def _lay_out(groups: Sequence[Sequence[Segment]]) -> Tape:
    key = tuple(tuple(id(calls) if _is_kept(calls) else 0 for calls in group) for group in groups)
    if key not in _kept:
        if len(_kept) == _MOST_KEPT:
            _kept.clear()
        _kept[key] = _Kept(groups)
    kept = _kept[key]
    layout = _Layout(TAPE + len(kept.content) // WORD, len(kept.actions))
    places = [
        [kept.places[id(calls)] if _is_kept(calls) else layout.add(calls) for calls in group]
        for group in groups
    ]
    tail = layout.render()
    tape = Tape(kept.content, kept.actions + layout.actions)
    tape.tail += tail
    for number, group in enumerate(places):
        tape.set_group(number, group)
    return tape


def _is_kept(calls: Segment) -> bool:
    """Whether a segment serves other containers as well."""
    return type(calls) is tuple


def load(tape: Tape, context: object) -> None:
    """Put a tape into the memory of the calling process, for a fork of it to walk.

    Args:
        tape: Which.
        context: What its actions get for an Ellipsis.

    Raises:
        OSError: It is too long (E2BIG).
    """
    if in_use.kept is not tape.kept:
        # Else it is there from last time, and shared with the forks of then.
        in_use.kept = b""
        write_words(TAPE, tape.kept)
        in_use.kept = tape.kept
    in_use.end = write_words(TAPE + len(tape.kept) // WORD, tape.tail)
    for place, number in tape.numbers.items():
        set_word(TAPE + place, number)
    in_use.actions, in_use.context = list(tape.actions), context


def extend(group: int, calls: Segment, at_zero: int | None = None) -> None:
    """Add a group of calls to the tape in the calling process's memory; as `Tape.join`."""
    layout = _Layout(in_use.end, len(in_use.actions))
    start, end = layout.add(calls)
    in_use.end = write_words(in_use.end, layout.render())
    set_word(TAPE + group, start)
    if at_zero is not None:
        set_word(end - _RECORD + AT_ZERO, TAPE + at_zero)
    in_use.actions += layout.actions


def lay_out_beside(room: Buffer, calls: Segment) -> list[int]:
    """Lay calls out in a shared buffer, for good, and return the place of each record."""
    place = place_of(room.address)
    layout = _Layout(place, 0)
    begin, end = layout.add(calls)
    content = layout.render()
    if len(content) > room.size:
        raise MemoryError("there is no room for calls beside the tape")
    room.raw = content
    return list(range(begin, end, _RECORD))


def go_on(record: int, following: int, at_zero: int = 0) -> None:
    """Say which record is after one, and which word says so after a result of zero."""
    set_word(record + NEXT, following)
    set_word(record + AT_ZERO, at_zero)


def fits(tape: Tape) -> bool:
    """Whether there is room for a tape."""
    return TAPE + tape.size <= in_use.limit


class _Layout:
    """Records from a word on, then their own cells, lists of addresses, and texts."""

    __slots__ = (
        "_calls",
        "_cells",
        "_known",
        "_start",
        "_text_start",
        "_texts",
        "_values",
        "actions",
    )

    def __init__(self, start: int, known: int) -> None:
        self._start, self._known = start, known
        self._calls = list[Call]()
        self._cells: dict[Cell, int] = {}  # and where they are
        self._values: dict[Argument, int] = {}  # what stands for an argument that is no number
        self._texts, self._text_start = bytearray(), 0
        self.actions = list[Action]()

    def add(self, calls: Segment) -> tuple[int, int]:
        """Add calls, and return where the first record begins and the last one ends."""
        begin = self._start + len(self._calls) * _RECORD
        self._calls += calls
        return begin, self._start + len(self._calls) * _RECORD

    def render(self) -> bytes:
        """Return the bytes; each record goes on with the one behind it, and the last one ends."""
        # Most arguments are plain numbers, and this is done for each container.
        others = [a for _, given, *_ in self._calls for a in given if type(a) is not int]
        results = [to for *_, to in self._calls if to is not None]
        first = self._start + len(self._calls) * _RECORD
        for cell in (*others, *results):
            if isinstance(cell, Cell) and not cell.place:
                self._cells.setdefault(cell, first + len(self._cells))
        lists = self._place_lists(first + len(self._cells), others)
        records, place, find = list[int](), self._start, self._find
        for function, given, least, tolerated, to in self._calls:
            place += _RECORD
            values, cells = [0] * ARGUMENTS, 0
            for index, argument in enumerate(given):
                if type(argument) is int:
                    values[index] = argument
                else:
                    values[index] = find(argument)
                    if isinstance(argument, Cell):
                        cells |= 1 << index
            result = NOWHERE if to is None else find(to)
            records += (function, *values, cells, least, tolerated, result, place, 0)
        if records:
            records[-2] = 0
        numbers = [*records, *(cell.value for cell in self._cells), *lists]
        self._texts += bytes(-len(self._texts) % WORD)
        return pack(f"{len(numbers)}l", *numbers) + self._texts

    def read_back(self) -> None:
        """Give cells and buffers what is in memory by now."""
        for cell, place in self._cells.items():
            cell.value = read_word(place)
        for argument, address in self._values.items():
            if isinstance(argument, Buffer) and not argument.address:
                argument.raw = read_memory(address, argument.size)

    def _place_lists(self, place: int, arguments: Sequence[Argument]) -> list[int]:
        """Return the words of all lists of addresses, which are to lie from a word on."""
        lists = dict.fromkeys(a for a in arguments if isinstance(a, tuple))
        self._text_start = address_of(place + sum(len(texts) + 1 for texts in lists))
        words = list[int]()
        for texts in lists:
            self._values[texts] = address_of(place + len(words))
            words += (*map(self._find, texts), 0)
        return words

    def _find(self, argument: Argument) -> int:
        """Return the number that stands for an argument: itself, a place or an address."""
        if isinstance(argument, int):
            return argument
        if isinstance(argument, Cell):
            return argument.place or self._cells[argument]
        if argument not in self._values:
            self._values[argument] = self._add(argument)
        return self._values[argument]

    def _add(self, argument: Argument) -> int:
        if isinstance(argument, Action):
            self.actions.append(argument)
            return self._known + len(self.actions) - 1
        if isinstance(argument, Buffer) and argument.address:
            return argument.address
        address = self._text_start + len(self._texts)
        if isinstance(argument, Buffer):
            self._texts += argument.raw
        elif isinstance(argument, bytes):
            self._texts += argument + b"\0"
        return address
