"""Probes of the system calls that only x86-64 has, and of its other two tables."""

import ctypes
import mmap
import os
import struct

from .kernel import call, call_number
from .probe import SECCOMP, Facts, probe

_CLONE_NEWUSER = 0x10000000
_X32 = 0x40000000
# push rbx; mov eax, NUMBER; mov ebx, ARGUMENT; int 0x80; pop rbx; ret
_INT_80 = struct.Struct("<1s 1s i 1s i 4s")
_UNSHARE_I386, _UNSHARE_X86_64 = 310, 272


@probe("G-i386", SECCOMP, "EPERM")
def call_as_i386(facts: Facts) -> None:
    """Make a user namespace with a system call of the 32-bit table."""
    words = (b"\x53", b"\xb8", _UNSHARE_I386, b"\xbb", _CLONE_NEWUSER, b"\xcd\x80\x5b\xc3")
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(_INT_80.pack(*words))
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    result = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
    if result < 0:
        raise OSError(-result, os.strerror(-result))


@probe("G-x32", SECCOMP, "EPERM", then="through|ENOSYS")
def call_as_x32(facts: Facts) -> None:
    """Make a user namespace with a system call of the x32 table."""
    call_number(_X32 | _UNSHARE_X86_64, _CLONE_NEWUSER)


@probe("G-iopl", SECCOMP, "EPERM", then="EINVAL|ENOSYS")
def open_ports(facts: Facts) -> None:
    """Reach the processor's ports."""
    call("iopl", 99)
