"""The memory that is at the same place in every fork, and the loop that makes the calls in it.

A fork shares its parent's memory, page by page, until one of the two writes to it, and Python
writes wherever it looks: an object that is only touched gets another reference count. Each such
page costs a fault of some microseconds, and 4 KiB for as long as the container lives. Numbers in
plain memory can be read without a trace. So whatever an init has to do, and is known before, is
laid down as numbers, see `tape`: a record for each call, with the function's number, its arguments
and the places of its result and of the next record. `walk` makes one call after the other, where it
can by the loop of `walker`, which is no Python.

    words      0        where results go that nobody wants
               1, 2     the walker's
               3 …      the shared cells: what one part of the program tells another
               TABLE …  the addresses of the functions, by number
               TAPE …   the tape: its head, records, what they refer to, and texts
               … end    the shared buffers

The memory is reserved once. As forks have it at the same address, a process can lay out a tape for
another fork of the same program, which needs nothing but its bytes.
"""

import os
from _collections_abc import Callable
from errno import E2BIG, EIO
from itertools import repeat
from struct import Struct

from .library import find_address, get_errno, get_function, reserve_memory
from .walker import EACH, RESULT, TABLE, load_walker

NUMBER = Struct("l")
WORD = NUMBER.size  # bytes
_INT = Struct("i")
# Bytes. A command's arguments take 2 MiB at most where the stack has 8 (execve(2)), and a word for
# each.
_MEMORY = 2**23
TAPE = 128  # the first word of a tape
_MAX_INT = 2**31 - 1  # what ctypes passes on without being told how
HEAD = 10  # words of a tape: the first record of each group of calls, and what else is known of it
NOWHERE, _FIRST_SHARED = 0, 3
# The function, its arguments, which of them are the places of cells as a bit mask, the least
# result, the tolerated errors, where the result goes, the next record, and the word that says
# which is next if the result is zero, or zero.
RECORD = Struct("13l")
ARGUMENTS = 6
NEXT, AT_ZERO = 11, 12  # which words of a record say what is next

# Which bits are set.
_CELLS = [[i for i in range(ARGUMENTS) if mask >> i & 1] for mask in range(2**ARGUMENTS)]

_words, _address = reserve_memory(_MEMORY)
_bytes = _words.cast("B")
_IS_LOW = _address + _MEMORY <= _MAX_INT  # an address in it is an int of C's, see `get_function`
_functions: list[Callable[..., int]] = []
_walker = load_walker(_words)


class Cell:
    """A number that one call returns and another takes, such as a descriptor.

    A shared one is a word at the same place in every fork. Any other is a word of the tape that it
    occurs on; its value here is what that begins with, and after `perform` what came of it.
    """

    __slots__ = ("_value", "place")
    _next_place = _FIRST_SHARED

    def __init__(self, value: int = -1, *, shared: bool = False) -> None:
        self.place, self._value = 0, value
        if shared:
            if Cell._next_place == TABLE:
                raise MemoryError("there are too many shared cells")
            self.place = Cell._next_place
            Cell._next_place += 1
            _words[self.place] = value

    @property
    def value(self) -> int:
        """The number."""
        return _words[self.place] if self.place else self._value

    @value.setter
    def value(self, value: int) -> None:
        if self.place:
            _words[self.place] = value
        else:
            self._value = value


class Buffer:
    """Memory that calls write to; after `perform`, `raw` is what is in it.

    A shared one has the same address in every fork.
    """

    __slots__ = ("_raw", "address", "size")

    def __init__(self, size: int, content: bytes = b"", *, shared: bool = False) -> None:
        self.size, self.address = size, 0
        if shared:
            in_use.limit -= -(-size // WORD)
            self.address = address_of(in_use.limit)
        self.raw = content.ljust(size, b"\0")

    @property
    def raw(self) -> bytes:
        """The bytes."""
        return read_memory(self.address, self.size) if self.address else self._raw

    @raw.setter
    def raw(self, raw: bytes) -> None:
        if self.address:
            _bytes[self.address - _address : self.address - _address + len(raw)] = raw
        else:
            self._raw = raw


class Action:
    """A call of Python's; an Ellipsis among the arguments stands for what the tape came with."""

    __slots__ = ("arguments", "function")

    def __init__(self, function: Callable[..., None], arguments: tuple[object, ...]) -> None:
        self.function, self.arguments = function, arguments


class _InUse:
    """What lies in memory at present, and what of Python's its calls refer to.

    Attributes:
        actions: By number.
        context: What the tape came with.
        end: The first word that is free.
        kept: The part of a tape that lies in memory as it was laid out.
        limit: The first word behind it that is not free.
    """

    __slots__ = ("actions", "context", "end", "kept", "limit")

    def __init__(self) -> None:
        self.actions = list[Action]()
        self.context: object = None
        self.kept = b""
        self.end = TAPE + HEAD
        self.limit = _MEMORY // WORD


in_use = _InUse()
FAILED = Cell(0, shared=True)  # the record whose call failed last


def add_function(function: str | Callable[..., int], *, takes_addresses: bool = False) -> int:
    """Return the number of a function of the C library, or of one that takes six numbers.

    Args:
        function: The function, or its name.
        takes_addresses: Whether they may be addresses outside of this memory.
    """
    number = len(_functions)
    if TABLE + number == TAPE:
        raise MemoryError("there are too many functions")
    if isinstance(function, str):
        is_narrow = _IS_LOW and not takes_addresses
        _words[TABLE + number] = find_address(function)
        function = get_function(function, None if is_narrow else ARGUMENTS)
    _functions.append(function)
    return number


def walk(place: int) -> None:
    """Make the calls from a record on, up to one that has no next; none from 0 on.

    Raises:
        OSError: One failed, see `FAILED`; those after it were not made.
    """
    try:
        while place and (place := place if _walker is None else _walker(_address, place)):
            place = _make_call(place)
    except OSError:
        FAILED.value = place
        raise


def _make_call(place: int) -> int:
    """Make one call, unless the walker has, and return the place of the next one."""
    words = _words
    function, *arguments, cells, least, tolerated, result, following, at_zero = RECORD.unpack_from(
        _bytes, place * WORD
    )
    if cells:
        for index in _CELLS[cells]:
            arguments[index] = words[arguments[index]]
    call = _functions[function]
    is_made = _walker is not None and words[TABLE + function]
    value = words[RESULT] if is_made else call(*arguments)
    if value < least:
        value = _judge(call, arguments, value, least, tolerated)
    words[result] = value
    return words[at_zero] if at_zero and not value else int(following)


def leads_to(place: int, other: int) -> bool:
    """Whether a record is among those from another one on."""
    while place and place != other:
        place = _words[place + NEXT]
    return place != 0


def _judge(
    function: Callable[..., int], arguments: list[int], value: int, least: int, tolerated: int
) -> int:
    """Return the result of a call that is less than it should be, if that is tolerated."""
    if value >= 0:  # a write that was cut short: the next one says why
        value = function(*arguments)
        if value >= least:
            return value
    errno = get_errno() if value < 0 else EIO
    if not errno or errno not in NUMBER.pack(tolerated):
        raise OSError(errno, os.strerror(errno))
    return value


def adopt(end: int, actions: list[Action], context: object) -> None:
    """Take what was received from `address_of(TAPE)` to an address for the tape: `tape.load`."""
    in_use.end = (end - _address) // WORD
    in_use.actions, in_use.context = actions, context


def is_walked() -> bool:
    """Whether calls are made one after the other with nothing of Python's in between."""
    return _walker is not None


def overlaps(address: int, size: int) -> bool:
    """Whether any of a range of memory is this one."""
    return address < _address + _MEMORY and _address < address + size


def read_head(index: int) -> int:
    """Return a word of the head of the tape; the first ones are where its groups start."""
    return _words[TAPE + index]


def address_of(place: int) -> int:
    """Return the address of a word."""
    return _address + place * WORD


def place_of(address: int) -> int:
    """Return the word at an address."""
    return (address - _address) // WORD


def read_word(place: int) -> int:
    """Return a word."""
    return _words[place]


def set_word(place: int, number: int) -> None:
    """Set a word, and leave alone what is as it should be: so it stays shared with forks."""
    if _words[place] != number:
        _words[place] = number


def read_memory(address: int, size: int) -> bytes:
    """Return as many bytes from an address on."""
    return bytes(_bytes[address - _address : address - _address + size])


def write_words(place: int, content: bytes | bytearray) -> int:
    """Write whole words, and return the place behind the last one.

    Raises:
        OSError: There is no room (E2BIG).
    """
    end = place + len(content) // WORD
    if end > in_use.limit:
        raise OSError(E2BIG, os.strerror(E2BIG))
    _bytes[place * WORD : end * WORD] = content
    return end


def _call_python(number: int, *_: int) -> int:
    action = in_use.actions[number]
    action.function(*(in_use.context if a is ... else a for a in action.arguments))
    return 0


def _link_each(name: int, others: int, count: int, *_: int) -> int:
    """Give a file more names; `others` is the address of their addresses."""
    start = (others - _address) // WORD
    # Without a line of Python for each: there may be hundreds.
    return -1 if any(map(_link, repeat(name), _words[start : start + count])) else 0


def _store_int(address: int, offset: int, number: int, *_: int) -> int:
    """Write an int of the kernel's to memory, such as a descriptor into a structure."""
    start = address + offset - _address
    _bytes[start : start + _INT.size] = _INT.pack(number)
    return 0


_link = get_function("link", None if _IS_LOW else 2)
LINK_EACH = add_function(_link_each)  # the first of all, as the walker has it
_words[TABLE + EACH] = find_address("link")
CALL_PYTHON = add_function(_call_python)
STORE_INT = add_function(_store_int)
