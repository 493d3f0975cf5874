"""The memory of a process as pages of a file, so that a fork of it takes less time.

A fork gets a copy of the page tables of each mapping that its parent has written to, entry by
entry, and has to give all of that back as it ends or executes something. With the six megabytes
that Python has, that is a third of what a clone takes besides its namespaces, and more for the
command that it clones itself. But what is a private mapping of a file, and was not written to
since, a fork finds by itself once it looks there. So what a process has written is copied to a file
in memory, which is mapped in its place. Forks share each page, as before, until one of them writes
to it.

Nothing may be written between the copy of a page and the new mapping. So only the loop of `walker`
can do that, with all signals blocked, and there is room for all of it before it begins. And as
little as possible should be written after it, for then the mapping is copied to each fork again: so
the loop goes right on with what the process is there for.

Source: fork(2), memfd_create(2), proc_pid_smaps(5), the kernel's vma_needs_copy in mm/memory.c.
"""

import os

from .calls import ANY_RESULT, close, prepare
from .library import find_thread, map_shared
from .memory import RECORD, Buffer, is_walked, overlaps
from .syscalls import ALL_SEALS, F_ADD_SEALS, memfd_create
from .tape import Call, lay_out_beside

_MAP_PRIVATE, _MAP_FIXED = 2, 16
_MS_ASYNC = 1
_PROTECTIONS = {b"r--p": 1, b"rw-p": 3}

_EACH, LAST = 3, 3  # calls for a mapping, and at the end

# Bytes. A program with more of them keeps them to itself: the file would take as much again.
_MOST = 2**26
_MOST_UNUSED = 2**20  # bytes of a mapping that nobody has written to; they are copied with the rest
# Memory that is another one than it looks, or would lose its mark: which forks get empty or not at
# all, such as what random numbers come from; which has secrets, or return addresses for the
# processor; which grows, such as the stack; or which is no plain page.
_SPECIAL = {
    *(b"dc", b"dd", b"dp", b"gd", b"ht", b"io", b"lo", b"mm", b"pf", b"ss", b"um", b"uw", b"wf"),
}


class _Mapping:
    """A range of memory."""

    __slots__ = ("address", "protection", "size", "written")

    def __init__(self, address: int, size: int, protection: int) -> None:
        self.address, self.size, self.protection = address, size, protection
        self.written = 0  # bytes


def lay_out_move(room: Buffer) -> list[int]:
    """Lay out the calls that move what this process has written to a file.

    It has one thread, and blocks all signals.

    Args:
        room: A shared buffer. What it has no room for stays where it is, the least of all.

    Returns:
        The places of the records, see `tape.lay_out_beside`; none where there is no such loop, or
        too much to move. If a call fails, nothing is lost. The walk goes on then where it is `LAST`
        that are left, which see to the file.

    Raises:
        OSError: There is no room for the file, or nothing tells what was written.
    """
    if not is_walked():
        return []
    mappings = sorted(_find_to_move(), key=lambda mapping: -mapping.written)
    mappings = mappings[: max(0, (room.size // RECORD.size - LAST) // _EACH)]
    size = sum(mapping.size for mapping in mappings)
    if not 0 < size <= _MOST:
        return []
    file = memfd_create("memory")
    try:
        os.posix_fallocate(file, 0, size)
        view = map_shared(file, size)
    except OSError:
        os.close(file)
        raise
    return lay_out_beside(room, _move(mappings, file, view, size))


def _move(mappings: list[_Mapping], file: int, view: int, size: int) -> list[Call]:
    """Return the calls, of which none can fail half-way."""
    calls, offset, flags = list[Call](), 0, _MAP_PRIVATE | _MAP_FIXED
    for m in mappings:
        calls += [
            # Python may have given it back meanwhile, in part; then this fails.
            prepare("msync", m.address, m.size, _MS_ASYNC),
            # The results are no ints. Not memmove(3): sanitizers forbid it what is not in use.
            prepare("bcopy", m.address, view + offset, m.size, least=ANY_RESULT),
            # Where it is refused, what was there stays there. A kernel before 6.12 that runs out of
            # memory right then leaves nothing, and the process dies of that.
            prepare("mmap", m.address, m.size, m.protection, flags, file, offset, least=ANY_RESULT),
        ]
        offset += m.size
    # Nobody may change what forks take from there.
    sealing = prepare("fcntl", file, F_ADD_SEALS, ALL_SEALS)
    return [*calls, prepare("munmap", view, size), sealing, close(file)]


def _find_to_move() -> list[_Mapping]:
    """Return what was written to, but for what is special, or in use while calls are made."""
    found, mapping = list[_Mapping](), _Mapping(0, 0, 0)
    with open("/proc/self/smaps", "rb") as file:
        for line in file:
            key, *rest = line.split()
            if not key.endswith(b":"):
                begin, end = (int(number, 16) for number in key.split(b"-"))
                mapping = _Mapping(begin, end - begin, _PROTECTIONS.get(rest[0], 0))
            elif key == b"Anonymous:":
                mapping.written = int(rest[0]) * 1024
            elif key == b"VmFlags:" and _SPECIAL.isdisjoint(rest) and _is_to_move(mapping):
                found.append(mapping)  # this is the last line of each
    return found


def _is_to_move(m: _Mapping) -> bool:
    is_dense = m.written > 0 and m.size - m.written <= _MOST_UNUSED
    # What the C library and the kernel keep for a thread, and the stack of any but the first one.
    is_thread = m.address <= find_thread() < m.address + m.size
    return is_dense and m.protection != 0 and not is_thread and not overlaps(m.address, m.size)
