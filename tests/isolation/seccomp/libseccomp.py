"""The C library that everybody else's filters are made with, to hold ours against."""

import ctypes
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from mocker.isolation.seccomp.bpf import EQ, GE, GT, LE, LT, NE, WORD, Condition
from tests.isolation.seccomp.bpf_machine import Instruction, read_program

# SCMP_ARCH_ values; those are AUDIT_ARCH_ values.
ARCHITECTURES = {
    "x86_64": 0xC000_003E,
    "i386": 0x4000_0003,
    "aarch64": 0xC000_00B7,
    "arm": 0x4000_0028,
}
_OPERATORS = {NE: 1, LT: 2, LE: 3, EQ: 4, GE: 5, GT: 6}
_MASKED_EQ = 7
_UNKNOWN = -1  # __NR_SCMP_ERROR
_MOST = 2**16  # bytes of a program

Rule = tuple[int, str, tuple[Condition, ...]]  # action, name of a system call, conditions


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("index", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


_library = ctypes.CDLL("libseccomp.so.2")
_library.seccomp_init.restype = ctypes.c_void_p
_library.seccomp_init.argtypes = [ctypes.c_uint32]
_library.seccomp_release.argtypes = [ctypes.c_void_p]
_library.seccomp_arch_native.restype = ctypes.c_uint32
_library.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
_library.seccomp_arch_remove.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
_library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
_library.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
_library.seccomp_syscall_resolve_num_arch.argtypes = [ctypes.c_uint32, ctypes.c_int]
_library.seccomp_syscall_resolve_num_arch.restype = ctypes.c_void_p
_library.seccomp_rule_add_array.argtypes = [
    ctypes.c_void_p,
    ctypes.c_uint32,
    ctypes.c_int,
    ctypes.c_uint,
    ctypes.POINTER(_Comparison),
]
_free = ctypes.CDLL(None).free
_free.argtypes = [ctypes.c_void_p]


def find_name(table: str, number: int) -> str:
    """Return the name of a call; nothing if the library knows none."""
    text = _library.seccomp_syscall_resolve_num_arch(ARCHITECTURES[table], number)
    if not text:
        return ""
    name = ctypes.string_at(text).decode()
    _free(text)
    return name


def knows(name: str) -> bool:
    """Whether the library knows a call, in whatever table."""
    return bool(_library.seccomp_syscall_resolve_name(name.encode()) != _UNKNOWN)


def compile_rules(table: str, default: int, rules: Iterable[Rule]) -> list[Instruction]:
    """Return the library's program for one table; calls that it does not know are left out."""
    with _open_filter(default) as filter_:
        architecture = ARCHITECTURES[table]
        if architecture != _library.seccomp_arch_native():
            _check(_library.seccomp_arch_add(filter_, architecture))
            _check(_library.seccomp_arch_remove(filter_, _library.seccomp_arch_native()))
        for action, name, conditions in rules:
            number = _library.seccomp_syscall_resolve_name(name.encode())
            if number == _UNKNOWN:
                continue
            compared = [_compare(condition) for condition in conditions]
            array = (_Comparison * max(1, len(compared)))(*compared)
            _check(_library.seccomp_rule_add_array(filter_, action, number, len(compared), array))
        fd = os.memfd_create("filter")
        try:
            _check(_library.seccomp_export_bpf(filter_, fd))
            return read_program(os.pread(fd, _MOST, 0))
        finally:
            os.close(fd)


@contextmanager
def _open_filter(default: int) -> Iterator[int]:
    filter_ = _library.seccomp_init(default)
    assert filter_
    try:
        yield filter_
    finally:
        _library.seccomp_release(filter_)


def _compare(condition: Condition) -> _Comparison:
    index, mask, how, value = condition
    if mask != WORD:
        assert how == EQ
        return _Comparison(index, _MASKED_EQ, mask, value)
    return _Comparison(index, _OPERATORS[how], value, 0)


def _check(result: int) -> None:
    assert result == 0, os.strerror(-result)
