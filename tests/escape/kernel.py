"""System calls by number: libraries have not all of them, and do more than they are asked for."""

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

X86 = os.uname().machine == "x86_64"
_NUMBERS = {  # on x86-64 and on aarch64
    "add_key": (248, 217),
    "bpf": (321, 280),
    "capget": (125, 90),
    "capset": (126, 91),
    "clone": (56, 220),
    "clone3": (435, 435),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "iopl": (172, -1),
    "kcmp": (312, 272),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "mbind": (237, 235),
    "mlock": (149, 228),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pivot_root": (155, 41),
    "prctl": (157, 167),
    "process_vm_readv": (310, 270),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setdomainname": (171, 162),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "socket": (41, 198),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

Argument = int | bytes | ctypes.Array[ctypes.c_char] | ctypes.Structure | None


def call(name: str, *arguments: Argument) -> int:
    """Make a system call and return its result.

    Raises:
        OSError: It failed.
    """
    return call_number(_NUMBERS[name][0 if X86 else 1], *arguments)


def call_number(number: int, *arguments: Argument) -> int:
    """Make a system call that has no name here, see `call`."""
    padded = [*arguments, *[0] * (6 - len(arguments))]
    result: int = _libc.syscall(ctypes.c_long(number), *map(_prepare, padded))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _prepare(argument: Argument) -> object:
    if isinstance(argument, int):
        return ctypes.c_long(argument)  # an int alone would be half as wide
    return ctypes.byref(argument) if isinstance(argument, ctypes.Structure) else argument


def wait_in_fork(act: Callable[[], object]) -> int:
    """Call something in a fork, and return how that ended, as a wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1]


def read_status(field: str) -> int:
    """Return a field of the calling process's /proc/self/status that is a hexadecimal mask."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(dict(line.split(":", 1) for line in lines)[field], 16)
