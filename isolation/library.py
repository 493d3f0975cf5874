"""Functions of the C library as they are, memory that they work on, and code beside Python's.

What takes Python values and raises errors is in `syscalls`, which has the rest of ctypes.

The library is opened as PyDLL, which keeps the GIL during a call: a child that comes back from
clone3 must hold it, because no other thread exists there that could ever give it back. ctypes is
asked to keep errno after each call, before Python itself makes calls that change it.
"""

import ctypes
import os
from _collections_abc import Callable

_PROT_READ, _PROT_WRITE, _PROT_EXEC = 1, 2, 4
_MAP_FLAGS = 0x2 | 0x20 | 0x4000  # private, anonymous, and no memory set aside for it
_MAP_SHARED = 1
_MAP_FIXED_NOREPLACE = 0x10_0000
_LOW = 0x7000_0000  # an address that neither brk(2) nor a program without PIE comes to soon
_MADV_NOHUGEPAGE = 15
_M_ARENA_MAX = -8

libc = ctypes.PyDLL(None, use_errno=True)
get_errno = ctypes.get_errno


def get_function(name: str, arguments: int | None = 6) -> Callable[..., int]:
    """Return a function of the C library that takes so many numbers and addresses, as numbers.

    Where it is not said how many, it takes any, but none that an int does not hold. It is called in
    a third of the time: ctypes asks a type for each argument that has one.
    """
    function = libc[name]  # another one each time; libc.name would be one and the same
    if arguments is not None:
        function.argtypes = [ctypes.c_long] * arguments
    if name in {"mmap", "pthread_self", "syscall"}:
        function.restype = ctypes.c_long
    return function


def reserve_memory(size: int) -> tuple[memoryview, int]:
    """Map memory of which a page is taken only once it is written to.

    Returns:
        It, as numbers that a pointer fits into, and its address.
    """
    mmap = get_function("mmap")
    # Below 2 GiB if it can be had there, see `get_function`.
    address = mmap(_LOW, size, _PROT_READ | _PROT_WRITE, _MAP_FLAGS | _MAP_FIXED_NOREPLACE, -1, 0)
    if address < 0:
        address = _map(size)
    # A huge page would be copied whole, where a container writes to a few small ones.
    get_function("madvise")(address, size, _MADV_NOHUGEPAGE, 0, 0, 0)
    memory = (ctypes.c_char * size).from_address(address)
    return memoryview(memory).cast("B").cast("l"), address


def load_code(code: bytes, arguments: int) -> Callable[..., int] | None:
    """Return the function that machine code is; it takes and returns numbers.

    Args:
        code: Which goes by the C library's conventions, wherever it is.
        arguments: How many numbers it takes.

    Returns:
        None where no memory may be executed that was written to, such as in a service with
        `MemoryDenyWriteExecute=`.
    """
    address = _map(len(code))
    ctypes.memmove(address, code, len(code))
    if get_function("mprotect")(address, len(code), _PROT_READ | _PROT_EXEC, 0, 0, 0) < 0:
        get_function("munmap")(address, len(code), 0, 0, 0, 0)
        return None
    function = libc._FuncPtr(address)  # noqa: SLF001 - as `libc` makes its own, errno and GIL included
    function.argtypes, function.restype = [ctypes.c_long] * arguments, ctypes.c_long
    return function


def find_address(name: str) -> int:
    """Return where a function of the C library is."""
    return ctypes.cast(libc[name], ctypes.c_void_p).value or 0


def use_one_arena() -> None:
    """Have the threads to come take their memory from the arena that there is, see mallopt(3).

    One of its own keeps what its thread needed at most, and many threads do that. Only the GNU C
    library has several.
    """
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_ARENA_MAX, 1)


def find_thread() -> int:
    """Return where the C library keeps what is the calling thread's."""
    return get_function("pthread_self", 0)()


def map_shared(file: int, size: int) -> int:
    """Map the beginning of a file, for who writes there to write to it, and return the address.

    Raises:
        OSError: It was refused.
    """
    return _map(size, _MAP_SHARED, file)


def trim_heap() -> None:
    """Give memory that was freed back to the kernel, also what is between things that are used.

    Only the GNU C library can do so.
    """
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def _map(size: int, flags: int = _MAP_FLAGS, file: int = -1) -> int:
    address = get_function("mmap")(0, size, _PROT_READ | _PROT_WRITE, flags, file, 0)
    if address < 0:
        errno = get_errno()
        raise OSError(errno, os.strerror(errno))
    return address
