"""Programs of a few instructions that make one system call, and tell what came of it.

No C library stands between, which would not make calls of another table, or with odd numbers.
"""

import struct
from collections.abc import Sequence
from pathlib import Path

_ADDRESS = 0x40_0000
_ELF_HEADER, _PROGRAM_HEADER = struct.Struct("<16sHHIQQQIHHHHHH"), struct.Struct("<IIQQQQQQ")
_MAGIC = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
_EXECUTABLE, _X86_64, _LOAD, _READ_EXECUTE = 2, 62, 1, 5
# Which instruction loads a register, for each argument: rdi … r9, and ebx … ebp.
_LOAD_64 = (b"\x48\xbf", b"\x48\xbe", b"\x48\xba", b"\x49\xba", b"\x49\xb8", b"\x49\xb9")
_LOAD_32 = (b"\xbb", b"\xb9", b"\xba", b"\xbe", b"\xbf", b"\xbd")
_LOAD_RAX, _LOAD_EAX = b"\x48\xb8", b"\xb8"
_SYSCALL, _INT_80 = b"\x0f\x05", b"\xcd\x80"
# neg eax; mov edi, eax; test edi, edi; jns over; xor edi, edi; over: mov eax, 231; syscall
_EXIT_WITH_ERRNO = bytes.fromhex("f7d8 89c7 85ff 7902 31ff b8e7000000 0f05")


def write_program(path: Path, table: str, number: int, arguments: Sequence[int] = ()) -> Path:
    """Write a program for x86-64 whose exit code is the errno of a call, 0 if it succeeded.

    Args:
        path: Of the file.
        table: "x86_64", or "i386" for a call as 32-bit programs make it.
        number: Of the call.
        arguments: The first of its six; the others are zero.
    """
    values = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    if table == "x86_64":
        call = _load(_LOAD_64, values, 8) + _load([_LOAD_RAX], [number], 8) + _SYSCALL
    else:
        call = _load(_LOAD_32, values, 4) + _load([_LOAD_EAX], [number], 4) + _INT_80
    code = call + _EXIT_WITH_ERRNO
    headers = _ELF_HEADER.size + _PROGRAM_HEADER.size
    size = headers + len(code)
    path.write_bytes(
        _ELF_HEADER.pack(
            *(_MAGIC, _EXECUTABLE, _X86_64, 1, _ADDRESS + headers, _ELF_HEADER.size, 0, 0),
            *(_ELF_HEADER.size, _PROGRAM_HEADER.size, 1, 0, 0, 0),
        )
        + _PROGRAM_HEADER.pack(_LOAD, _READ_EXECUTE, 0, _ADDRESS, _ADDRESS, size, size, 4096)
        + code
    )
    path.chmod(0o755)
    return path


def _load(registers: Sequence[bytes], values: Sequence[int], size: int) -> bytes:
    pairs = zip(registers, values, strict=True)
    return b"".join(register + value.to_bytes(size, "little") for register, value in pairs)
