"""Probes of the system calls that only x86-64 has, and of its other two tables."""

import ctypes
import mmap
import os
import struct

from .kernel import call, call_number
from .probe import SECCOMP, Facts, probe

_AF_VSOCK, _SOCK_STREAM = 40, 1
_CLONE_NEWUSER = 0x10000000
_MAP_32BIT = 0x40
_SYS_SOCKET = 1  # to socketcall(2)
_X32 = 0x40000000
# push rbx; mov eax, …; mov ebx, …; mov ecx, …; mov edx, …; int 0x80; pop rbx; ret
_INT_80 = struct.Struct("<2s i 1s i 1s i 1s i 4s")
_SOCKET_I386, _SOCKETCALL_I386, _UNSHARE_I386, _UNSHARE_X86_64 = 359, 102, 310, 272


def call_i386(number: int, first: int, second: int = 0, third: int = 0) -> int:
    """Make a system call of the 32-bit table, see `call`."""
    code = _INT_80.pack(
        b"\x53\xb8", number, b"\xbb", first, b"\xb9", second, b"\xba", third, b"\xcd\x80\x5b\xc3"
    )
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    result: int = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


@probe("G-i386-unshare", SECCOMP, "EPERM")
def unshare_as_i386(facts: Facts) -> None:
    """Make a user namespace with a system call of the 32-bit table."""
    call_i386(_UNSHARE_I386, _CLONE_NEWUSER)


@probe("G-i386-socket", SECCOMP, "EPERM")
def open_socket_as_i386(facts: Facts) -> None:
    """Reach the hypervisor (AF_VSOCK) with a system call of the 32-bit table."""
    os.close(call_i386(_SOCKET_I386, _AF_VSOCK, _SOCK_STREAM, 0))


@probe("G-i386-socketcall", SECCOMP, "EPERM|ENOSYS")
def open_socket_by_pointer(facts: Facts) -> None:
    """Reach the hypervisor with one whose arguments no filter can see."""
    memory = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_32BIT)
    memory.write(struct.pack("3i", _AF_VSOCK, _SOCK_STREAM, 0))
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    os.close(call_i386(_SOCKETCALL_I386, _SYS_SOCKET, address))


@probe("G-x32", SECCOMP, "EPERM", then="through|ENOSYS")
def call_as_x32(facts: Facts) -> None:
    """Make a user namespace with a system call of the x32 table."""
    call_number(_X32 | _UNSHARE_X86_64, _CLONE_NEWUSER)


@probe("G-iopl", SECCOMP, "EPERM", then="EINVAL|ENOSYS")
def open_ports(facts: Facts) -> None:
    """Reach the processor's ports."""
    call("iopl", 99)
